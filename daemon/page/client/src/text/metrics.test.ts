import assert from "node:assert/strict";
import { test } from "node:test";
import { wordMetrics } from "./metrics";

test("metrics are told in words, and what a plugin calls its own stays", () => {
  const warning = "eval_logps/chosen fell from -100.0 to -110.0 while eval_rewards/margins rose from 0.1 to 1: eval_own/thing";
  assert.equal(wordMetrics(warning), "held-out log-probability of the chosen answers fell from −100.0 to −110.0 while held-out margin rose from 0.1 to 1: eval_own/thing");
  assert.equal(wordMetrics("logps/chosen fell; see /a/rewards-1/x"), "log-probability of the chosen answers fell; see /a/rewards-1/x");
  assert.equal(wordMetrics("eval_loss and eval_rewards/margins: not marked"), "held-out loss and held-out margin: not marked");
});
