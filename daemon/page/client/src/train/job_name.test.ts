import assert from "node:assert/strict";
import { test } from "node:test";
import { parse } from "./document";
import { suggestName } from "./job_name";

const suggest = (text: string) => suggestName(text, parse(text));

test("a job without a name is called by its model and its loss", () => {
  assert.equal(suggest("model: ./models/SmolLM2-135M-Instruct/\nloss: {name: ipo}\n"), "SmolLM2-135M-Instruct-ipo");
  assert.equal(suggest("model: org/a b\n"), "a-b");
  assert.equal(suggest("model: ..\nloss: {name: [ipo, hinge]}\n"), "ipo-hinge");
  for (const text of ["", "model: \n", "model: [", "- 1\n", `model: "\u0007"`]) assert.equal(suggest(text), "job");
  assert.equal(suggest(`model: ${"x".repeat(500)}\n`).length, 180);
});
