import assert from "node:assert/strict";
import { test } from "node:test";
import type { Curve } from "./curves";
import { findLimits } from "./limits";
import type { Panel } from "./panels";

const PANEL: Panel = { id: "learning_rate", title: "Learning rate", unit: "", lines: [], exact: true };

function makeCurve(line: number[]): Curve {
  const steps = line.map((_, index) => index + 1);
  return { label: "", color: "grey", steps, line, behind: null, evalColor: "grey", evalSteps: [], evalLine: [], bad: [] };
}

test("a value that never moves is drawn over zero, and not as noise around itself", () => {
  const { low, high } = findLimits([makeCurve([0.001, 0.001, 0.001])], PANEL);
  assert.equal(low, 0);
  assert.ok(high > 0.001);
  assert.deepEqual([findLimits([makeCurve([-2, -2])], PANEL).high, findLimits([makeCurve([0])], PANEL).low], [0, -1]);
});

test("one that moves has little room around it", () => {
  const { low, high } = findLimits([makeCurve([1, 2])], PANEL);
  assert.ok(low > 0.9 && low < 1 && high > 2 && high < 2.1);
});

test("one that hardly moves is drawn as one, and its marks can be told apart", () => {
  const { low, high } = findLimits([makeCurve([0.00241, 0.002410001])], PANEL);
  assert.ok(high - low >= 0.02 * 0.00241 && low < 0.00241 && high > 0.002410001);
});
