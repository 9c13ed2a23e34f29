import assert from "node:assert/strict";
import { test } from "node:test";
import { formatMeasure, nameMeasure, wordNote } from "./measures";

test("a measure is called and written as everywhere else, and a plugin's own as it calls it", () => {
  assert.deepEqual([nameMeasure("eval_rewards/accuracies"), formatMeasure("eval_rewards/accuracies", 0.909)], ["held-out accuracy", "90.9 %"]);
  assert.deepEqual([nameMeasure("eval_entropy"), formatMeasure("eval_entropy", 0.5), formatMeasure("eval_entropy", null)], ["eval_entropy", "0.5", "–"]);
});

test("a note names metrics as the table does", () => {
  assert.equal(wordNote("eval_loss and eval_rewards/margins: not marked"), "held-out loss and held-out margin: not marked");
});
