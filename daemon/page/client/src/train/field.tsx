/** One setting: its name, an input of its kind, and what the schema says of it. */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { isSeq } from "yaml";
import { parse, quote, readSource, removeKey, setSource } from "./document";
import { setText, spec, text } from "./editing";
import { suggestName } from "./job_name";
import { ChoiceInput, ChoicesInput } from "./choice";
import { NUMBER, Slider } from "./slider";
import { describePreset, type Field } from "./schema";

interface FieldProps {
  field: Field;
  /** The keys that may stand beside it, in the order they are written in. */
  order?: readonly string[];
  /** A further input for the same value, such as a slider. */
  slider?: boolean;
}

export function FieldInput({ field, order, slider }: FieldProps) {
  const [typed, setTyped] = useState<string | null>(null);
  const written = readSource(text.value, spec.value, field.path);
  const id = `setting-${field.path.join("-")}`;
  const preset = describeSilence(field);
  const write = (value: string | null) => setText(value === null || value === "" ? removeKey(text.peek(), field.path) : setSource(text.peek(), field.path, toSource(field, value), order));
  const shared = { id, "aria-describedby": `${id}-text` };
  return (
    <div class="setting">
      <div class="setting-name">
        <label for={id}>{breakName(field.name)}</label>
        {written !== null && (
          <button type="button" class="setting-reset" title="Take it out of the spec" aria-label={`Take ${field.name} out of the spec`} onClick={() => write(null)}>
            ↺
          </button>
        )}
      </div>
      {field.kind === "flag" ? (
        <input {...shared} type="checkbox" checked={written === null ? preset.preset === true : written === "true"} onChange={(event) => write(String(event.currentTarget.checked))} />
      ) : field.kind === "choice" ? (
        <ChoiceInput field={preset} id={id} written={written} onChange={write} />
      ) : field.kind === "choices" ? (
        <ChoicesInput field={preset} id={id} written={readList(field)} onChange={(names) => write(names.length ? names.map(quote).join(", ") : null)} />
      ) : (
        <div class="setting-line">
          <input
            {...shared}
            class="field"
            type="text"
            inputMode={field.kind === "number" ? "decimal" : "text"}
            autocomplete="off"
            autocapitalize="off"
            spellcheck={false}
            value={typed ?? unwrap(field, written)}
            placeholder={describePreset(preset)}
            onFocus={() => setTyped(unwrap(field, written))}
            onBlur={() => setTyped(null)}
            onInput={(event) => {
              setTyped(event.currentTarget.value);
              write(event.currentTarget.value);
            }}
          />
          {slider && <Slider field={field} written={written} onChange={write} />}
        </div>
      )}
      <p id={`${id}-text`} class="setting-text">
        {[field.text, field.range].filter(Boolean).join(" · ")}
      </p>
    </div>
  );
}

/** The field with what holds while the spec does not set it. */
function describeSilence(field: Field): Field {
  if (field.group && !spec.value.hasIn(field.group)) return { ...field, preset: undefined, example: "off" };
  return field.path.join(".") === "name" ? { ...field, example: suggestName(text.value, spec.value) } : field;
}

/** Writes what was typed as YAML: numbers as they were typed, texts quoted where they need to be, lists in brackets. */
function toSource(field: Field, typed: string): string {
  const trimmed = typed.trim();
  if (field.kind === "flag" || field.kind === "choice") return quoteUnless(typed, field.choices.some((each) => typeof each === "number") || field.kind === "flag");
  if (field.kind === "number" || (field.kind === "text" && field.limits.low !== null)) return quoteUnless(trimmed, NUMBER.test(trimmed));
  const flow = /^[[{]/.test(trimmed) ? trimmed : isList(field) ? `[${trimmed}]` : "";
  if (flow && (field.kind !== "text" || /^\[.*\]$/.test(flow)) && !parse(`value: ${flow}\n`).errors.length) return flow;
  return quote(typed);
}

function quoteUnless(typed: string, isPlain: boolean): string {
  return isPlain ? typed : quote(typed);
}

/** Shows a list without its brackets, which the input stands for. */
function unwrap(field: Field, written: string | null): string {
  if (written === null) return "";
  return isList(field) ? written.replace(/^\[\s*|\s*\]$/g, "") : written;
}

/** A long name breaks between its words. */
function breakName(name: string): ComponentChildren {
  return name.split(/(?<=[_.])/).flatMap((part, index) => (index ? [<wbr key={index} />, part] : [part]));
}

function isList({ kind }: Field): boolean {
  return kind === "list" || kind === "choices";
}

/** The names that a list of choices has in the text; one name stands for a list of it. */
function readList(field: Field): string[] {
  const node: unknown = spec.value.getIn(field.path);
  if (isSeq(node)) return (node.toJSON() as unknown[]).map(String);
  return node === null || node === undefined || typeof node === "object" ? [] : [String(node)];
}
