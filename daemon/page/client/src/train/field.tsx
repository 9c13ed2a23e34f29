/** One setting: its name, an input of its kind, and what the schema says of it. */
import { useState } from "preact/hooks";
import { parse, quote, readSource, removeKey, setSource } from "./document";
import { setText, spec, text } from "./editing";
import { suggestName } from "./job_name";
import type { Field } from "./schema";

interface FieldProps {
  field: Field;
  /** The keys that may stand beside it, in the order they are written in. */
  order?: readonly string[];
  /** A further input for the same value, such as a slider. */
  slider?: boolean;
}

const NUMBER = /^[-+]?(\d[\d_]*\.?\d*|\.\d+)(e[-+]?\d+)?$/i;

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
        <label for={id}>{field.name}</label>
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

interface InputProps {
  field: Field;
  written: string | null;
  onChange: (value: string | null) => void;
}

const FEW = 4;
/** Letters that have room in a row of buttons. */
const SHORT = 16;

/** Few choices are buttons in a row, many a list; a value that is none of them is shown too. */
function ChoiceInput({ field, id, written, onChange }: InputProps & { id: string }) {
  const current = written ?? (field.preset === undefined || field.preset === null ? "" : String(field.preset));
  if (field.choices.length < FEW && field.choices.join("").length < SHORT) {
    return (
      <div id={id} class="segments" role="group" aria-label={field.name}>
        {field.choices.map((each) => (
          <button key={each} type="button" aria-pressed={String(each) === current} onClick={() => onChange(String(each))}>
            {each}
          </button>
        ))}
      </div>
    );
  }
  return (
    <select id={id} class="field" value={written ?? ""} onChange={(event) => onChange(event.currentTarget.value || null)}>
      <option value="">{describePreset(field) || "–"}</option>
      {field.choices.map((each) => (
        <option key={each} value={String(each)}>
          {each}
        </option>
      ))}
      {written !== null && !field.choices.map(String).includes(written) && <option value={written}>{written}</option>}
    </select>
  );
}

const STEPS = 200;
const SPAN = 50;

/** A slider over the settings that people try: between two limits evenly, else by factors, from a 50th to 50 times the default. */
function Slider({ field, written, onChange }: InputProps) {
  const preset = Number(field.preset);
  const { low, high } = field.limits;
  const isEven = low !== null && high !== null;
  if (!isEven && !(preset > 0)) return null;
  const toValue = (place: number) => (isEven ? low + ((high - low) * place) / STEPS : preset * SPAN ** ((2 * place) / STEPS - 1));
  const toPlace = (value: number) => (isEven ? ((value - low) / (high - low)) * STEPS : (Math.log(Math.max(value, 1e-300) / preset) / Math.log(SPAN) + 1) * (STEPS / 2));
  const value = written !== null && NUMBER.test(written) ? Number(written) : preset;
  return (
    <input
      type="range"
      min={0}
      max={isEven ? STEPS - 1 : STEPS}
      value={Math.round(toPlace(value))}
      aria-label={`${field.name}, as a slider`}
      onInput={(event) => onChange(String(Number(toValue(Number(event.currentTarget.value)).toPrecision(2))))}
    />
  );
}

/** Writes what was typed as YAML: numbers as they were typed, texts quoted where they need to be, lists in brackets. */
function toSource(field: Field, typed: string): string {
  const trimmed = typed.trim();
  if (field.kind === "flag" || field.kind === "choice") return quoteUnless(typed, field.choices.some((each) => typeof each === "number") || field.kind === "flag");
  if (field.kind === "number" || (field.kind === "text" && field.limits.low !== null)) return quoteUnless(trimmed, NUMBER.test(trimmed));
  const flow = /^[[{]/.test(trimmed) ? trimmed : field.kind === "list" ? `[${trimmed}]` : "";
  if (flow && (field.kind !== "text" || /^\[.*\]$/.test(flow)) && !parse(`value: ${flow}\n`).errors.length) return flow;
  return quote(typed);
}

function quoteUnless(typed: string, isPlain: boolean): string {
  return isPlain ? typed : quote(typed);
}

/** Shows a list without its brackets, which the input stands for. */
function unwrap(field: Field, written: string | null): string {
  if (written === null) return "";
  return field.kind === "list" ? written.replace(/^\[\s*|\s*\]$/g, "") : written;
}

function describePreset({ preset, example, kind }: Field): string {
  if (preset === undefined || preset === null || preset === "") return example;
  if (typeof preset === "object") return Array.isArray(preset) && !preset.length ? example || "none" : kind === "other" && !Object.keys(preset).length ? example || "none" : JSON.stringify(preset);
  return String(preset);
}
