/** What becomes of the text: its faults with their lines, or what the job would take; and the button that queues it. */
import type { Validation } from "../api/shapes";
import { Bones } from "../parts/bones";
import { Button } from "../parts/button";
import { pluralize } from "../text/numbers";
import { START, text } from "./editing";
import { Estimate } from "./estimate";
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
      {ready && !needs.value && <Bones shape="needs" />}
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
