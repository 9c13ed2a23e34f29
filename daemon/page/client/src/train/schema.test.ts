import assert from "node:assert/strict";
import { test } from "node:test";
import { leaveOutPresets, listFields, makeField, type Schema } from "./schema";
import { placeFields, SECTIONS } from "./sections";

const nullable = (...variants: Schema[]): Schema => ({ anyOf: [...variants, { type: "null" }] });

const SCHEMA: Schema = {
  $defs: { Qat: { type: "object", properties: { bits: { type: "integer", enum: [2, 4], default: 4 } } } },
  properties: {
    name: { type: "string", default: "", description: "what it is called" },
    loss: { oneOf: [{ type: "object", properties: { name: { type: "string" } } }] },
    data: {
      type: "object",
      properties: {
        path: { oneOf: [{ type: "string" }, { type: "array", items: { type: "object", properties: { path: { type: "string" } } } }] },
        validation: { anyOf: [{ type: "number", minimum: 0, exclusiveMaximum: 1 }, { type: "string" }], default: 0.05 },
      },
    },
    training: nullable({ type: "object", properties: { fuse: { type: "boolean" }, keys: nullable({ type: "array" }), qat: nullable({ $ref: "#/$defs/Qat" }), newest: { type: "number", exclusiveMinimum: 0 } } }),
    sweep: { type: "object", properties: { "loss.beta": { type: "array" } } },
    report_to: nullable({ type: "array", items: { type: "string", enum: ["table", "trackio"] } }),
  },
};

test("a setting of the schema is a field of its kind", () => {
  const kinds = Object.fromEntries(listFields(SCHEMA, ["loss"], ["sweep"]).map((field) => [field.path.join("."), field.kind]));
  assert.deepEqual(kinds, {
    name: "text",
    "data.path": "text",
    "data.validation": "text",
    "training.fuse": "flag",
    "training.keys": "list",
    "training.qat.bits": "choice",
    "training.newest": "number",
    sweep: "other",
    report_to: "choices",
  });
});

test("a field tells its range, its limits, and the mapping that turns it on", () => {
  const fields = new Map(listFields(SCHEMA, ["loss"], ["sweep"]).map((field) => [field.path.join("."), field]));
  assert.equal(fields.get("data.validation")?.range, "≥\u00a00 · <\u00a01");
  assert.deepEqual(fields.get("training.newest")?.limits, { low: 0, high: null });
  assert.deepEqual(fields.get("training.qat.bits")?.group, ["training", "qat"]);
  assert.deepEqual(fields.get("report_to")?.choices, ["table", "trackio"], "as the plugins of the home have them");
  assert.equal(fields.get("name")?.group, null);
  assert.equal(makeField(SCHEMA, { type: "number" }, ["loss", 0, "beta"]).name, "beta");
});

test("each setting stands in one section, one that no section knows too", () => {
  const fields = listFields(SCHEMA, ["loss"], ["sweep"]);
  const placed = placeFields(fields);
  const all = [...placed.values()].flatMap(({ first, more }) => [...first, ...more]);
  assert.deepEqual(new Set(all), new Set(fields));
  assert.equal(all.length, fields.length);
  const training = SECTIONS.find((each) => each.title === "Training settings");
  assert.ok(training && placed.get(training)?.more.some((field) => field.path.at(-1) === "newest"));
});

test("what is not of the queue stands elsewhere", () => {
  const schema = { properties: { reference: { type: "object", properties: { model: { type: "string" } } }, ranks: { type: "integer" }, group: { type: "string" } } };
  const titles = [...placeFields(listFields(schema, [], []))].map(([section, { first, more }]): [string, string[]] => [
    section.title,
    [...first, ...more].map((field) => field.path.join(".")),
  ]);
  const placed = new Map(titles);
  assert.deepEqual(placed.get("Model & data"), ["reference.model"]);
  assert.deepEqual(placed.get("Training settings"), ["ranks"]);
  assert.deepEqual(placed.get("Queue"), ["group"]);
});

test("a frozen spec loses what its silence says as well", () => {
  const spec = { name: "", model: "m", data: { path: "p", validation: 0.05 }, training: { newest: 1, qat: { bits: 4 } }, sweep: null };
  assert.deepEqual(leaveOutPresets(spec, listFields(SCHEMA, ["loss"], ["sweep"])), { model: "m", data: { path: "p" }, training: { newest: 1 } });
});
