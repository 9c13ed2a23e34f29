import assert from "node:assert/strict";
import { test } from "node:test";
import { formatMeasure, listBest, nameMeasure } from "./measures";

test("a measure is called and written as everywhere else, and a plugin's own as it calls it", () => {
  assert.deepEqual([nameMeasure("eval_rewards/accuracies"), formatMeasure("eval_rewards/accuracies", 0.909)], ["held-out accuracy", "90.9 %"]);
  assert.deepEqual([nameMeasure("eval_entropy"), formatMeasure("eval_entropy", 0.5), formatMeasure("eval_entropy", null)], ["eval_entropy", "0.5", "–"]);
});

test("what reads the same is equally good, and nothing is the best where all read alike", () => {
  const job = (id: number, peak: number) => ({ job: id, name: "", state: "done", loss: null, settings: {}, evaluated_at_step: null, peak_memory_gb: peak });
  const compare = (...peaks: number[]) => listBest({ jobs: peaks.map((peak, index) => job(index + 1, peak)), differing: [], best: { peak_memory_gb: [1] }, notes: [] }, "peak_memory_gb");
  assert.deepEqual([compare(1.2341, 1.2343, 2), compare(1.2341, 1.2343), compare(1, 2)], [[1, 2], [], [1]]);
});
