/** What a run has written: its checkpoints, its results, and its metrics as a table to take along. */
import { saveAnswer } from "../api/download";
import type { JobDocument, RunFiles } from "../api/shapes";
import { archive, discard } from "../jobs/actions";
import { Button } from "../parts/button";
import { ENDED } from "../parts/state";
import { tellError } from "../parts/toast";
import { useAnswer } from "../stores/answer";
import { formatCount, formatSize } from "../text/numbers";
import { Fact } from "./fact";

const RESULTS = ["adapter", "fused", "peft", "gguf", "modelfile"] as const;

export function OnDisk({ run }: { run: JobDocument }) {
  const { id, state, bytes } = run.job;
  const { value: files } = useAnswer<RunFiles>(`/v1/jobs/${id}/files`, `${state} ${bytes}`);
  if (!files) return null;
  const save = () => void saveAnswer(`/v1/jobs/${id}/metrics.csv`, `metrics-${id}.csv`).catch(tellError);
  const whole = files.fused ?? files.gguf;
  const ended = ENDED.includes(state);
  return (
    <section class="card facts">
      <h2>On disk, {formatSize(files.bytes)}</h2>
      <dl class="pairs-of-facts">
        <Fact name="folder">{run.run_gone ? `${files.run} is gone` : files.run}</Fact>
        {RESULTS.filter((name) => files[name]).map((name) => (
          <Fact key={name} name={name}>
            {files[name]!.path}, {formatSize(files[name]!.bytes)}
          </Fact>
        ))}
        {files.checkpoints.length > 0 && (
          <Fact name="checkpoints">
            {files.checkpoints.map((each) => (
              <span key={each.step} class="line">
                step {formatCount(each.step)}, {formatSize(each.bytes)} {each.best && <b class="good">best</b>}
              </span>
            ))}
          </Fact>
        )}
        {files.attempts.length > 0 && <Fact name="attempts">files of {files.attempts.join(", ")} are kept</Fact>}
      </dl>
      <p class="fact-actions">
        {files.metrics && <Button onClick={save}>metrics.csv</Button>}
        {ended && !run.run_gone && <Button onClick={() => void archive(run.job, false)}>Archive</Button>}
        {ended && whole && <Button onClick={() => void archive(run.job, true)}>Archive with the whole model</Button>}
        {ended && files.checkpoints.length > 0 && <Button onClick={() => void discard("checkpoints", [run.job])}>Delete checkpoints</Button>}
        {ended && whole && <Button onClick={() => void discard("fused", [run.job])}>Delete the whole model</Button>}
      </p>
    </section>
  );
}
