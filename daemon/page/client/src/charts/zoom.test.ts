import assert from "node:assert/strict";
import { test } from "node:test";
import { scaleView, settleView, shiftView } from "./zoom";

test("a view is scaled around a step and ends in all steps", () => {
  assert.deepEqual(scaleView([0, 1000], 0.5, [0, 1000]), [250, 750]);
  assert.deepEqual(scaleView([0, 1000], 0.5, [0, 1000], 0), [0, 500]);
  assert.deepEqual(scaleView([250, 750], 1.5, [0, 1000]), [125, 875]);
  assert.equal(scaleView([250, 750], 2, [0, 1000]), null);
  assert.equal(scaleView([250, 750], 2, null), null, "of a run whose length is not known yet");
  assert.deepEqual(scaleView([7, 8], 0.5, [0, 1000]), [7, 8], "two steps are the fewest");
});

test("a view is moved to the first and the last step and keeps its length", () => {
  assert.deepEqual(shiftView([100, 200], 0.5, [1, 1000]), [150, 250]);
  assert.deepEqual(shiftView([950, 990], 0.5, [1, 1000]), [960, 1000]);
  assert.deepEqual(shiftView([10, 110], -0.5, [1, 1000]), [1, 101]);
  assert.deepEqual(shiftView([10, 110], -0.5, null), [0, 100]);
});

test("a range is made of whole steps that there are", () => {
  assert.deepEqual(settleView([-3.2, 10.2], [0, 1000]), [0, 11]);
  assert.deepEqual(settleView([2000, 3000], [0, 1000]), [999, 1000]);
  assert.equal(settleView([-5, 2000], [0, 1000]), null);
});
