/** Completes the keys of a spec, by the mapping that the cursor's line stands in, and the choices of a setting. */
import type { Completion, CompletionContext, CompletionResult } from "@codemirror/autocomplete";
import type { Text } from "@codemirror/state";
import type { Field } from "./schema";

/** `readFields` is asked at each completion: the schema may come while the text is being written. */
export function completeKeys(readFields: () => readonly Field[]): (context: CompletionContext) => CompletionResult | null {
  return (context) => {
    const fields = readFields();
    const line = context.state.doc.lineAt(context.pos);
    const before = line.text.slice(0, context.pos - line.from);
    const key = /^( *)([\w.]*)$/.exec(before);
    if (key) {
      const [, indent = "", typed = ""] = key;
      if (!typed && !context.explicit) return null;
      const parent = findParent(context.state.doc, line.number, indent.length);
      return { from: context.pos - typed.length, options: listKeys(fields, parent), validFor: /^[\w.]*$/ };
    }
    const value = /^( *)([\w.]+): *([\w-]*)$/.exec(before);
    if (!value) return null;
    const [, indent = "", name = "", typed = ""] = value;
    const path = [...findParent(context.state.doc, line.number, indent.length), name].join(".");
    const field = fields.find((each) => each.path.join(".") === path);
    const write = (name: string) => (field?.kind === "choices" ? `[${name}]` : name);
    return field?.choices.length ? { from: context.pos - typed.length, options: field.choices.map((each) => ({ label: String(each), apply: write(String(each)), type: "enum" })), validFor: /^[\w-]*$/ } : null;
  };
}

function listKeys(fields: readonly Field[], parent: readonly string[]): Completion[] {
  const found = new Map<string, Completion>();
  for (const field of fields) {
    if (field.path.length <= parent.length || parent.some((key, depth) => field.path[depth] !== key)) continue;
    const name = String(field.path[parent.length]);
    const isLeaf = field.path.length === parent.length + 1;
    if (!found.has(name)) found.set(name, isLeaf ? { label: name, apply: `${name}: `, info: field.text } : { label: name, apply: `${name}:\n${"  ".repeat(parent.length + 1)}` });
  }
  return [...found.values()];
}

/** The keys above a line, by their indentation. */
function findParent(doc: Text, number: number, indent: number): string[] {
  const path: string[] = [];
  let width = indent;
  for (let above = number - 1; above > 0 && width > 0; above--) {
    const found = /^( *)([\w.]+):/.exec(doc.line(above).text);
    if (!found || (found[1] ?? "").length >= width) continue;
    width = (found[1] ?? "").length;
    path.unshift(found[2] ?? "");
  }
  return path;
}
