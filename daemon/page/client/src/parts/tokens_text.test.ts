import assert from "node:assert/strict";
import { test } from "node:test";
import { shortenPrompt } from "./tokens_text";

test("a prompt is told by its question, not by the system turn that all have", () => {
  const prompt = "<|im_start|>system\nYou are helpful<|im_end|>\n<|im_start|>user\nWhy is the\nsky blue?<|im_end|>\n<|im_start|>assistant\n";
  assert.equal(shortenPrompt(prompt), "Why is the sky blue?");
  assert.equal(shortenPrompt("no template, an assistant"), "no template, an assistant");
});
