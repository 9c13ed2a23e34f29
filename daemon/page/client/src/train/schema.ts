/** The settings of a spec as fields of a form. They are read from the schema, so a new setting appears by itself. */

export type Path = readonly (string | number)[];
export type Kind = "text" | "number" | "choice" | "choices" | "flag" | "list" | "other";

/** The part of JSON Schema that the spec's schema uses. */
export interface Schema {
  $ref?: string;
  $defs?: Record<string, Schema>;
  type?: string;
  title?: string;
  description?: string;
  properties?: Record<string, Schema>;
  items?: Schema;
  anyOf?: Schema[];
  oneOf?: Schema[];
  enum?: (string | number)[];
  const?: unknown;
  default?: unknown;
  examples?: unknown[];
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
}

export interface Field {
  path: Path;
  /** Its key, with that of the mapping around it where others have the same: `lora.rank`, `reference.model`. */
  name: string;
  kind: Kind;
  /** What it means, in the schema's words. */
  text: string;
  /** What holds where the spec says nothing; shown in the empty input, and not written. */
  preset: unknown;
  /** What may stand there, for an input without a preset. */
  example: string;
  choices: readonly (string | number)[];
  /** The range in words: `> 0`, `≥ 0 · < 0.5`. */
  range: string;
  limits: { low: number | null; high: number | null };
  /** The mapping that turns something on by being there, such as `training.qat`; null for a setting that always holds. */
  group: Path | null;
}

/** Lists the fields of a schema. Those of `skipped` top-level keys have a form of their own; each of `whole` is one field. */
export function listFields(root: Schema, skipped: readonly string[], whole: readonly string[] = []): Field[] {
  const fields: Field[] = [];
  const collect = (given: Schema, path: Path, group: Path | null): void => {
    const node = resolve(root, given);
    const parts = node.properties ?? listVariants(root, node).find((each) => each.properties)?.properties;
    const isPlain = !parts || listVariants(root, node).some((each) => each.type === "array" || each.type === "string");
    if (isPlain || whole.includes(path.join("."))) {
      if (path.length) fields.push({ ...makeField(root, node, path), group });
      return;
    }
    const inside = path.length && isNullable(node) ? path : group;
    for (const [key, part] of Object.entries(parts)) {
      if (path.length || !skipped.includes(key)) collect(part, [...path, key], inside);
    }
  };
  collect(root, [], null);
  return fields;
}

/** Leaves out of a frozen spec what says no more than its silence would, and the mappings that this leaves empty. */
export function leaveOutPresets(spec: unknown, fields: readonly Field[]): unknown {
  const presets = new Map(fields.map((field) => [field.path.join("."), JSON.stringify(field.preset)]));
  const prune = (value: unknown, path: readonly string[]): unknown => {
    if (value === null || presets.get(path.join(".")) === JSON.stringify(value)) return undefined;
    if (typeof value !== "object" || Array.isArray(value)) return value;
    const kept = Object.entries(value).flatMap(([key, each]): [string, unknown][] => {
      const pruned = prune(each, [...path, key]);
      return pruned === undefined ? [] : [[key, pruned]];
    });
    return kept.length || !path.length ? Object.fromEntries(kept) : undefined;
  };
  return prune(spec, []);
}

/** Makes the field of one setting, such as a loss's parameter. */
export function makeField(root: Schema, node: Schema, path: Path): Field {
  const variants = listVariants(root, node);
  const bounds = [node, ...variants];
  const several = variants.find((each) => each.type === "array")?.items?.enum;
  const choices = bounds.find((each) => each.enum)?.enum ?? several ?? [];
  const example = node.examples?.[0];
  return {
    path,
    name: nameField(path),
    kind: several ? "choices" : findKind(variants, choices),
    text: node.description ?? "",
    preset: node.default,
    example: typeof example === "string" ? example : example === undefined ? "" : JSON.stringify(example),
    choices,
    range: bounds.map(describeRange).find(Boolean) ?? "",
    limits: {
      low: bounds.map((each) => each.exclusiveMinimum ?? each.minimum).find((each) => each !== undefined) ?? null,
      high: bounds.map((each) => each.exclusiveMaximum ?? each.maximum).find((each) => each !== undefined) ?? null,
    },
    group: null,
  };
}

function nameField(path: Path): string {
  const [first, ...rest] = path;
  if (first === "loss") return String(path.at(-1));
  return rest.length && first !== "reference" ? rest.join(".") : path.join(".");
}

function findKind(variants: readonly Schema[], choices: readonly unknown[]): Kind {
  if (choices.length) return "choice";
  const types = new Set(variants.map((each) => (each.type === "integer" ? "number" : each.type)));
  if (types.size === 1) {
    if (types.has("boolean")) return "flag";
    if (types.has("number")) return "number";
    if (types.has("string")) return "text";
    if (types.has("array")) return "list";
  }
  return types.has("string") ? "text" : "other";
}

/** Lists what a value may be, without null: that is a setting left out. */
function listVariants(root: Schema, node: Schema): Schema[] {
  const given = node.anyOf ?? node.oneOf;
  if (!given) return [node];
  return given.map((each) => resolve(root, each)).filter((each) => each.type !== "null");
}

function isNullable(node: Schema): boolean {
  return (node.anyOf ?? node.oneOf ?? []).some((each) => each.type === "null");
}

function resolve(root: Schema, node: Schema): Schema {
  if (!node.$ref) return node;
  const name = node.$ref.split("/").at(-1) ?? "";
  return { ...root.$defs?.[name], ...node };
}

function describeRange(node: Schema): string {
  const words = [];
  if (node.exclusiveMinimum !== undefined) words.push(`>\u00a0${node.exclusiveMinimum}`);
  if (node.minimum !== undefined) words.push(`≥\u00a0${node.minimum}`);
  if (node.exclusiveMaximum !== undefined) words.push(`<\u00a0${node.exclusiveMaximum}`);
  if (node.maximum !== undefined) words.push(`≤\u00a0${node.maximum}`);
  return words.join(" · ");
}

/** What an input without a value shows: its default, or what may stand there. */
export function describePreset({ preset, example, kind }: Field): string {
  if (preset === undefined || preset === null || preset === "") return example;
  if (typeof preset === "object") return Array.isArray(preset) && !preset.length ? example || "none" : kind === "other" && !Object.keys(preset).length ? example || "none" : JSON.stringify(preset);
  return String(preset);
}
