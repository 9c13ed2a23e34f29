/** A job's loss with its parameters, or the parts of a mixture: sigmoid β 0.1 ls 0.1. */
import type { LossPart } from "../api/shapes";
import { formatShort } from "../text/numbers";
import { formatParams } from "../text/losses";

export function Loss({ parts }: { parts: readonly LossPart[] }) {
  return (
    <span class="loss">
      {parts.map((part, index) => (
        <span key={index}>
          {index > 0 && " + "}
          {part.weight !== 1 && `${formatShort(part.weight)} × `}
          {part.name} <span class="soft">{formatParams(part.params)}</span>
        </span>
      ))}
    </span>
  );
}
