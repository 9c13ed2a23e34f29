import assert from "node:assert/strict";
import { test } from "node:test";
import { choosePanels } from "../charts/panels";
import type { Series } from "../api/shapes";
import { listTabs, readTab } from "./tabs";

test("a client's model has the tabs that there is something for, and its loss is the client's", () => {
  assert.deepEqual(listTabs(true), ["charts", "spec", "log", "history"]);
  assert.equal(readTab("pairs", listTabs(true)), "charts");
  assert.equal(readTab("pairs", listTabs(false)), "pairs");
  const series = { metrics: { loss: {}, ref_hits: {}, num_tokens: {}, own: {} }, eval: { step: [], metrics: {} } } as unknown as Series;
  const panels = choosePanels(series, true).map(({ id, unit }) => [id, unit]);
  assert.deepEqual(panels, [["loss", "as the client has it"], ["reference", "answers a step"], ["own", ""]]);
});
