import assert from "node:assert/strict";
import { test } from "node:test";
import { createElement, Fragment } from "preact";
import { keepVisible, showHidden } from "./visible";

test("what cannot be seen is written out, and all other text is left alone", () => {
  assert.equal(showHidden("a\u202eb\u001b[31m\u0000\u2066"), "a\\u202eb\\u001b[31m\\u0000\\u2066");
  for (const text of ["", "two\nlines\tand a tab\r\n", "שלום مرحبا", "👩‍👩‍👧", "−1e−5 · ≥ é"]) assert.equal(showHidden(text), text);
});

test("every element shows its texts so, those in lists too, and an input keeps what it holds", () => {
  keepVisible();
  const made = createElement("p", { title: "\u202e" }, "a\u202e", ["b\u202e", 3], createElement("b", null, "c"));
  assert.deepEqual(made.props.children.slice(0, 2), ["a\\u202e", ["b\\u202e", 3]]);
  assert.equal(createElement(Fragment, null, "a\u202e").props.children, "a\\u202e");
  assert.equal(createElement("textarea", null, "a\u202e").props.children, "a\u202e");
});
