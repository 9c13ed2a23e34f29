/**
 * Changes single settings in a spec's text, and leaves every other character as its writer put it: comments, order, quotes.
 * Where a setting is a plain value, its characters are replaced; where it is new, lines are added; where it goes, its lines go.
 */
import { isMap, isNode, isScalar, type Pair, parseDocument, Scalar, stringify, YAMLMap, type Document, type Node } from "yaml";
import type { Path } from "./schema";

const INDENT = "  ";

export function parse(text: string): Document.Parsed {
  return parseDocument(text, { prettyErrors: false, uniqueKeys: true });
}

/** Says whether a form can edit the text: it is a mapping, or nothing yet. */
export function isEditable(doc: Document.Parsed): boolean {
  return doc.errors.length === 0 && (isMap(doc.contents) || doc.contents === null || isEmptyScalar(doc.contents));
}

/** Returns what stands at `path`, as its writer wrote it; a text without its quotes. Null where nothing does. */
export function readSource(text: string, doc: Document.Parsed, path: Path): string | null {
  const node = doc.getIn(path, true);
  if (!isNode(node)) return null;
  if (isScalar(node)) {
    if (node.value === null && !node.source) return null;
    return typeof node.value === "string" ? node.value : (node.source ?? String(node.value));
  }
  const [start, end] = findRange(node);
  const slice = text.slice(start, end).trimEnd();
  if (/^[[{]/.test(slice) && !slice.includes("\n")) return slice;
  return stringify(node.toJSON(), { collectionStyle: "flow", lineWidth: 0 }).trimEnd();
}

/** Returns the text with `source` at `path`; `order` lists the keys that may stand beside it, in the order they are written in. */
export function setSource(text: string, path: Path, source: string, order: readonly string[] = []): string {
  const doc = parse(text);
  if (!isEditable(doc)) return text;
  const changed = replaceValue(text, doc, path, source) ?? insertLines(text, doc, path, source, order) ?? rewrite(doc, path, source);
  return parse(changed).errors.length ? rewrite(doc, path, source) : changed;
}

/** Returns the text without the setting at `path`, and without the mappings that this leaves empty. */
export function removeKey(text: string, path: Path): string {
  const doc = parse(text);
  if (!isEditable(doc) || doc.getIn(path, true) === undefined) return text;
  let gone = path;
  while (gone.length > 1) {
    const parent = doc.getIn(gone.slice(0, -1), true);
    if (!isMap(parent) || parent.items.length > 1) break;
    gone = gone.slice(0, -1);
  }
  const parent = gone.length > 1 ? doc.getIn(gone.slice(0, -1), true) : doc.contents;
  if (isMap(parent) && !parent.flow) {
    const pair = parent.items.find((each) => keyOf(each) === String(gone.at(-1)));
    const start = pair && isNode(pair.key) ? findLineStart(text, findRange(pair.key)[0]) : -1;
    if (pair && start >= 0) {
      const changed = text.slice(0, start) + text.slice(findPairEnd(text, pair));
      if (!parse(changed).errors.length) return changed;
    }
  }
  doc.deleteIn(gone);
  return doc.toString({ lineWidth: 0 });
}

/** Writes a text as YAML would: quoted only where it would be read as something else. */
export function quote(value: string): string {
  const plain = stringify(value, { lineWidth: 0, blockQuote: false }).replace(/\n$/, "");
  if (parse(`value: ${plain}\n`).get("value") === value) return plain;
  return JSON.stringify(value).replace(/[\u0085\u2028\u2029]/g, (each) => `\\u${each.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** Writes a spec that may be JSON as YAML, without what it leaves at null. */
export function toYaml(text: string): string {
  if (!text.trimStart().startsWith("{")) return text;
  const doc = parse(text);
  return doc.errors.length ? text : stringify(dropNulls(doc.toJS()), { lineWidth: 0 });
}

function dropNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(dropNulls);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).flatMap(([key, each]) => (each === null ? [] : [[key, dropNulls(each)]])));
}

function replaceValue(text: string, doc: Document.Parsed, path: Path, source: string): string | null {
  const node = doc.getIn(path, true);
  if (!isNode(node) || isEmptyScalar(node)) return null;
  const isBlock = isScalar(node) ? node.type === Scalar.BLOCK_FOLDED || node.type === Scalar.BLOCK_LITERAL : !(node as YAMLMap).flow;
  if (isBlock || node.anchor) return null;
  const [start, end] = findRange(node);
  return text.slice(0, start) + source + text.slice(end);
}

function insertLines(text: string, doc: Document.Parsed, path: Path, source: string, order: readonly string[]): string | null {
  if (doc.contents === null || isEmptyScalar(doc.contents)) return endLine(text) + writeLines(path, source, "");
  let map: Node = doc.contents;
  let depth = 0;
  for (; depth < path.length - 1; depth++) {
    const next = isMap(map) ? map.get(path[depth], true) : undefined;
    if (!isMap(next)) {
      if (next !== undefined) return null;
      break;
    }
    map = next;
  }
  if (!isMap(map) || map.flow || !map.items.length || map.get(path[depth], true) !== undefined) return null;
  const first = map.items[0];
  const firstKey = first && isNode(first.key) ? findRange(first.key)[0] : 0;
  const indent = text.slice(findLineStart(text, firstKey), firstKey);
  if (indent.trim()) return null;
  const lines = writeLines(path.slice(depth), source, indent);
  const rank = (key: string) => (order.includes(key) ? order.indexOf(key) : order.length);
  const before = map.items.findLast((each) => rank(keyOf(each)) <= rank(String(path[depth])));
  if (!before) return text.slice(0, firstKey - indent.length) + lines + text.slice(firstKey - indent.length);
  const end = findPairEnd(text, before);
  return endLine(text.slice(0, end)) + lines + text.slice(end);
}

/** The last resort: YAML's own printer, which keeps comments and may change spaces. */
function rewrite(doc: Document.Parsed, path: Path, source: string): string {
  const copy = doc.clone() as Document;
  const mark = "PREFD-VALUE";
  for (let depth = 1; depth < path.length; depth++) {
    const parent = copy.getIn(path.slice(0, depth), true);
    if (isScalar(parent)) copy.setIn(path.slice(0, depth), copy.createNode({}));
  }
  copy.setIn(path, new Scalar(mark));
  return copy.toString({ lineWidth: 0 }).replace(mark, () => source);
}

function writeLines(path: Path, source: string, indent: string): string {
  return path.map((key, depth) => `${indent}${INDENT.repeat(depth)}${key}:${depth === path.length - 1 ? ` ${source}` : ""}\n`).join("");
}

function findPairEnd(text: string, pair: Pair): number {
  const node = isNode(pair.value) ? findLast(pair.value) : (pair.key as Node);
  const end = findRange(node)[1];
  if (end > 0 && text[end - 1] === "\n") return end;
  const stop = text.indexOf("\n", end);
  return stop < 0 ? text.length : stop + 1;
}

function findLast(node: Node): Node {
  const items = isMap(node) && !node.flow ? node.items : [];
  const last = items.at(-1);
  if (!last) return node;
  return isNode(last.value) && !isEmptyScalar(last.value) ? findLast(last.value) : (last.key as Node);
}

function findRange(node: Node): [number, number] {
  return node.range ? [node.range[0], node.range[1]] : [0, 0];
}

function findLineStart(text: string, place: number): number {
  return text.lastIndexOf("\n", place - 1) + 1;
}

function endLine(text: string): string {
  return text === "" || text.endsWith("\n") ? text : `${text}\n`;
}

function keyOf(pair: Pair): string {
  return isScalar(pair.key) ? String(pair.key.value) : String(pair.key);
}

function isEmptyScalar(node: unknown): boolean {
  return isScalar(node) && node.value === null && !node.source;
}
