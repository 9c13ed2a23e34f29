/** How far a running job is: a bar, and its numbers. A client's model has no bar, for nobody knows how many steps it will take. */
import { Bar } from "../parts/bar";
import { formatCount } from "../text/numbers";
import type { Pace } from "./pace";

interface PaceProps {
  pace: Pace;
  label: string;
}

export function PaceBar({ pace, label }: PaceProps) {
  return pace.share === null ? null : <Bar share={pace.share} label={label} />;
}

export function PaceNumbers({ pace }: { pace: Pace }) {
  return (
    <>
      <span>
        <b>{formatCount(pace.done)}</b>{" "}
        <span class="soft">{pace.share === null ? pace.unit : `/ ${formatCount(pace.total)} ${pace.unit}`}</span>
      </span>
      {pace.rate && <span class="soft">{pace.rate}</span>}
      {pace.left && <span>{pace.left}</span>}
      {pace.note && <span class="soft">{pace.note}</span>}
    </>
  );
}
