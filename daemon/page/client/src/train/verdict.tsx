/** What becomes of the text: its faults with their lines, or what the job would take; and the button that queues it. */
import type { JobNeeds, Validation } from "../api/shapes";
import { Bar } from "../parts/bar";
import { Button } from "../parts/button";
import { formatCount, formatSize, pluralize } from "../text/numbers";
import { formatDuration } from "../text/times";
import { START, text } from "./editing";
import { needs, valid, verdict } from "./verdict_store";

interface VerdictProps {
  queueing: boolean;
  onQueue: () => void;
  onCopy: () => void;
  onLine: (line: number) => void;
}

export function Verdict({ queueing, onQueue, onCopy, onLine }: VerdictProps) {
  const answer = verdict.value;
  const jobs = answer?.value?.jobs.length ?? 0;
  const ready = valid.value === true;
  const isEmpty = text.value === START;
  return (
    <section class="card verdict" aria-label="Whether it can be queued">
      <div class="verdict-head">
        <strong role="status" class={ready ? "good" : answer?.value?.faults.length && !isEmpty ? "bad" : "soft"}>
          {isEmpty ? "Name a model and its pairs to begin" : describe(answer?.value ?? null, answer?.trouble ?? "")}
        </strong>
        <span class="verdict-buttons">
          <Button onClick={onCopy}>Copy</Button>
          <Button tone="primary" disabled={!ready || queueing} onClick={onQueue}>
            {jobs > 1 ? `Queue ${jobs} jobs` : "Queue it"} <kbd>⌘↵</kbd>
          </Button>
        </span>
      </div>
      {(isEmpty ? [] : (answer?.value?.faults ?? [])).map((fault) => (
        <button key={`${fault.line} ${fault.path} ${fault.message}`} type="button" class="fault" disabled={fault.line === null} onClick={() => fault.line !== null && onLine(fault.line)}>
          {fault.line !== null && <span class="faint">line {fault.line} </span>}
          {fault.path && <b>{fault.path}: </b>}
          {fault.message}
        </button>
      ))}
      {answer?.value?.notes.map((note) => (
        <p key={note} class="amber">
          {note}
        </p>
      ))}
      {ready && needs.value?.of !== text.value && <p class="soft">counting what it would take…</p>}
      {ready && needs.value?.trouble && <p class="bad">{needs.value.trouble}</p>}
      {ready && needs.value?.value && <Estimate needs={needs.value.value} jobs={jobs} />}
    </section>
  );
}

function describe(answer: Validation | null, trouble: string): string {
  if (trouble) return trouble;
  if (!answer) return "…";
  return answer.ok ? "ready" : pluralize(answer.faults.length, "fault");
}

function Estimate({ needs, jobs }: { needs: JobNeeds; jobs: number }) {
  const { completions, cached, missing, tokens_run: tokens, data, memory, batches } = needs;
  const share = completions ? cached / completions : 1;
  return (
    <div class="estimate">
      {jobs > 1 && <p class="soft">Of the first of the {jobs} jobs:</p>}
      {!needs.needs_reference ? (
        <p>
          <b>no reference pass:</b> training starts at once
        </p>
      ) : (
        <>
          <Bar share={share} label={`${cached} of ${completions} answers are in the cache`} tone="green" />
          <p>
            <b>{formatCount(cached)}</b> of {formatCount(completions)} answers are in the cache
          </p>
          {missing > 0 && (
            <p>
              <b>{formatCount(missing)}</b> to score: {formatCount(tokens)} tokens, about <b>{formatDuration(needs.estimated_seconds)}</b> <span class="faint">by {needs.estimate_from}</span>
            </p>
          )}
          {missing === 0 && <p>no reference pass: training starts at once</p>}
        </>
      )}
      <p class="soft">
        {pluralize(data.used, "pair")} to train on, {formatCount(data.held_out)} held out
        {batches && <>; {pluralize(batches.steps, "step")}</>}
      </p>
      {!batches && <p class="amber">This spec trains nothing: it only scores the pairs for later jobs. Any training setting makes it train.</p>}
      {memory && (
        <p class={memory.warning ? "amber" : "soft"}>
          about {formatSize(memory.total)} of memory of {formatSize(memory.machine)}
          {memory.warning && <>: {memory.warning}</>}
        </p>
      )}
      {batches && (
        <p class="soft">
          {batches.batch_tokens === null ? "batches are never cut: this loss looks across its batch" : `${formatCount(batches.batch_tokens)} tokens at once`}
          {batches.grad_checkpoint && ", layers computed again for the gradient"}
          {!batches.usual && ": chosen so that it fits"}
        </p>
      )}
    </div>
  );
}
