/** What the job would take: how much of the reference is in the cache, and its pairs, steps, tokens and memory. */
import type { ComponentChildren } from "preact";
import type { JobNeeds } from "../api/shapes";
import { Bar } from "../parts/bar";
import { formatCount, formatSize, pluralize } from "../text/numbers";
import { formatDuration } from "../text/times";

export function Estimate({ needs, jobs }: { needs: JobNeeds; jobs: number }) {
  const { data, memory, batches } = needs;
  return (
    <div class="estimate">
      {jobs > 1 && <p class="soft">Of the first of the {jobs} jobs:</p>}
      <ReferencePass needs={needs} />
      <dl class="stats number">
        <Stat name="pairs" note={data.held_out ? `and ${formatCount(data.held_out)} held out` : "none held out"}>
          {formatCount(data.used)}
        </Stat>
        {batches && (
          <Stat name="steps" note={pluralize(Number((batches.steps / batches.steps_per_epoch).toPrecision(2)), "epoch")}>
            {formatCount(batches.steps)}
          </Stat>
        )}
        {batches && (
          <Stat name="tokens at once" note={batches.grad_checkpoint ? "layers computed again" : batches.usual ? "as usual" : "so that it fits"}>
            {batches.batch_tokens === null ? "whole batch" : formatCount(batches.batch_tokens)}
          </Stat>
        )}
        {memory && (
          <Stat name="memory" note={`of ${formatSize(memory.machine)}`}>
            {formatSize(memory.total)}
          </Stat>
        )}
      </dl>
      {!batches && <p class="amber">This spec trains nothing: it only scores the pairs for later jobs. Any training setting makes it train.</p>}
      {memory?.warning && <p class="amber">{memory.warning}</p>}
    </div>
  );
}

/** How much of the reference's answers there are already, and what it takes to score the others. */
function ReferencePass({ needs }: { needs: JobNeeds }) {
  const { completions, cached, missing, tokens_run: tokens } = needs;
  if (!needs.needs_reference)
    return (
      <p>
        <b>no reference pass:</b> training starts at once
      </p>
    );
  return (
    <>
      <Bar share={completions ? cached / completions : 1} label={`${cached} of ${completions} answers are in the cache`} tone="green" />
      <p>
        <b>{formatCount(cached)}</b> of {formatCount(completions)} answers are in the cache{missing === 0 && ": training starts at once"}
      </p>
      {missing > 0 && (
        <p>
          <b>{formatCount(missing)}</b> to score: {formatCount(tokens)} tokens, about <b>{formatDuration(needs.estimated_seconds)}</b> <span class="faint">by {needs.estimate_from}</span>
        </p>
      )}
    </>
  );
}

function Stat({ name, note, children }: { name: string; note: string; children: ComponentChildren }) {
  return (
    <div class="stat">
      <dt>{name}</dt>
      <dd>{children}</dd>
      <dd class="soft">{note}</dd>
    </div>
  );
}
