import assert from "node:assert/strict";
import { test } from "node:test";
import { attachEditor, findChange, noteText, setText, text } from "./editing";

const apply = (before: string, after: string) => {
  const change = findChange(before, after);
  return change ? before.slice(0, change.from) + change.insert + before.slice(change.to) : before;
};

test("one replacement makes the new text of the old one", () => {
  for (const [before, after] of [["", "a"], ["a", ""], ["aaa", "aa"], ["aa", "aaa"], ["abc", "axc"], ["same", "same"], ["ab", "ba"]] as const) assert.equal(apply(before, after), after);
  assert.equal(findChange("same", "same"), null);
  assert.deepEqual(findChange("beta: 0.1\n", "beta: 0.2\n"), { from: 8, to: 9, insert: "2" });
});

test("a change of the form is made in the editor while it is shown, and its keys are never overtaken", () => {
  let held = text.peek();
  const end = attachEditor(({ from, to, insert }) => {
    held = held.slice(0, from) + insert + held.slice(to);
    noteText(held);
  });
  for (const key of "typed fast") {
    held += key;
    noteText(held);
    setText(`${text.peek()}.`);
  }
  end();
  assert.equal(text.peek(), held);
  assert.ok(text.peek().endsWith("t.y.p.e.d. .f.a.s.t."));
  setText("without an editor");
  assert.equal(text.peek(), "without an editor");
});
