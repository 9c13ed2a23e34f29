import assert from "node:assert/strict";
import { test } from "node:test";
import { isEditable, parse, quote, readSource, removeKey, setSource } from "./document";

const SPEC = `# my first job
name: one   # kept
model: ./model

data:
  path: ./pairs.jsonl   # all of them
  max_length: 48

loss: {name: sigmoid, beta: 0.1}
training:
  learning_rate: 1e-3
  lr_schedule:
    name: cosine_decay
`;

test("a value is replaced and everything else is left as it was", () => {
  assert.equal(setSource(SPEC, ["training", "learning_rate"], "5e-6"), SPEC.replace("1e-3", "5e-6"));
  assert.equal(setSource(SPEC, ["name"], "two"), SPEC.replace("name: one ", "name: two "));
  assert.equal(setSource(SPEC, ["loss", "beta"], "0.2"), SPEC.replace("0.1", "0.2"));
});

test("a new setting is a line at its place", () => {
  const order = ["path", "split", "max_length"];
  assert.equal(setSource(SPEC, ["data", "split"], "test", order), SPEC.replace("  max_length", "  split: test\n  max_length"));
  assert.equal(setSource(SPEC, ["training", "lr_schedule", "warmup"], "10"), `${SPEC}    warmup: 10\n`);
  assert.equal(setSource(SPEC, ["training", "lora", "rank"], "16"), `${SPEC}  lora:\n    rank: 16\n`);
  assert.equal(setSource(SPEC, ["adapter"], "./a", ["name", "model", "adapter", "data"]), SPEC.replace("./model\n", "./model\nadapter: ./a\n"));
});

test("a setting goes into a text that is empty, has no last line break, or names a mapping without keys", () => {
  assert.equal(setSource("", ["data", "path"], "x"), "data:\n  path: x\n");
  assert.equal(setSource("# a note", ["model"], "x"), "# a note\nmodel: x\n");
  assert.equal(setSource("model: y", ["seed"], "1"), "model: y\nseed: 1\n");
  assert.deepEqual(parse(setSource("data:\nmodel: y\n", ["data", "path"], "x")).toJS(), { data: { path: "x" }, model: "y" });
  assert.deepEqual(parse(setSource("loss: {name: ipo}\n", ["loss", "beta"], "1")).toJS(), { loss: { name: "ipo", beta: 1 } });
});

test("a setting that goes takes the mappings that it leaves empty", () => {
  assert.equal(removeKey(SPEC, ["data", "max_length"]), SPEC.replace("  max_length: 48\n", ""));
  assert.equal(removeKey(SPEC, ["training", "lr_schedule", "name"]), SPEC.replace("  lr_schedule:\n    name: cosine_decay\n", ""));
  assert.deepEqual(parse(removeKey(SPEC, ["loss", "beta"])).toJS().loss, { name: "sigmoid" });
  assert.equal(removeKey("data:\n  path: x\nmodel: y\n", ["data", "path"]), "model: y\n");
  assert.equal(removeKey(SPEC, ["nothing"]), SPEC);
});

test("a text of several lines is replaced and removed whole", () => {
  const spec = "name: |\n  a\n  b\nseed: 1\n";
  assert.deepEqual(parse(setSource(spec, ["name"], "c")).toJS(), { name: "c", seed: 1 });
  assert.equal(removeKey(spec, ["name"]), "seed: 1\n");
  assert.deepEqual(parse(setSource(spec, ["training", "epochs"], "2")).toJS(), { name: "a\nb\n", seed: 1, training: { epochs: 2 } });
});

test("what stands there is read as it was written", () => {
  const doc = parse(SPEC);
  assert.equal(readSource(SPEC, doc, ["training", "learning_rate"]), "1e-3");
  assert.equal(readSource(SPEC, doc, ["data", "path"]), "./pairs.jsonl");
  assert.equal(readSource(SPEC, doc, ["data", "split"]), null);
  const listed = 'data:\n  ignore_columns: [a, "b c"]\n  path:\n    - ./a\n    - ./b\n';
  assert.equal(readSource(listed, parse(listed), ["data", "ignore_columns"]), '[a, "b c"]');
  assert.equal(readSource(listed, parse(listed), ["data", "path"]), "[ ./a, ./b ]");
});

test("a text that is no mapping is left alone", () => {
  for (const text of ["- a\n- b\n", "a: [1\n", "just words"]) {
    assert.equal(isEditable(parse(text)), false);
    assert.equal(setSource(text, ["name"], "x"), text);
  }
});

test("texts are quoted where YAML would read something else", () => {
  for (const text of ["1e-5", "no", "null", "", "a: b", "# x", "- y", "C:\\models", "'", '"', "~", "2026-01-01", "[a", "é\u2028"]) {
    assert.equal(parse(`value: ${quote(text)}\n`).toJS().value, text);
  }
  assert.equal(quote("./pairs.jsonl"), "./pairs.jsonl");
});

test("any order of edits gives the settings that were set last", () => {
  const paths = [["name"], ["data", "path"], ["data", "split"], ["training", "lora", "rank"], ["training", "seed"], ["loss", "beta"]];
  let seed = 1;
  const random = (n: number) => (seed = (seed * 48271) % 2147483647) % n;
  for (let round = 0; round < 200; round++) {
    let text = round % 2 ? SPEC : "";
    const wanted = new Map<string, string | null>();
    for (let edit = 0; edit < 8; edit++) {
      const path = paths[random(paths.length)] as string[];
      const value = random(3) ? `v${random(100)}` : null;
      text = value ? setSource(text, path, value) : removeKey(text, path);
      wanted.set(path.join("."), value);
    }
    for (const [path, value] of wanted) assert.equal(readSource(text, parse(text), path.split(".")), value, text);
  }
});
