import assert from "node:assert/strict";
import { test } from "node:test";
import type { JobDocument, ReportState } from "../api/shapes";
import { describeReport, tellFailedReports } from "./reports";

const report = (given: Partial<ReportState>): ReportState => ({ to: "trackio", job: "", place: "", train: 1200, held_out: 0, rows: 0, state: "open", error: "", ...given });

test("a report says how far it is, and whether it goes on", () => {
  assert.equal(describeReport(report({})), "to step 1,200, follows the job");
  assert.equal(describeReport(report({ held_out: 1000, state: "done" })), "to step 1,200, evaluated to step 1,000, done");
  assert.equal(describeReport(report({ error: "no route to host" })), "to step 1,200, broken off");
});

test("a report that broke off is told with its remedy, and none that goes on", () => {
  const run = { job: { id: 3 }, reports: [report({}), report({ to: "wandb", error: "no route to host" })] } as unknown as JobDocument;
  assert.deepEqual(tellFailedReports(run), ["Its report to wandb broke off: no route to host. That costs the job nothing; `prefd report 3 --to wandb` sends the rest."]);
});
