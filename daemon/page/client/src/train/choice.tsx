/** What is chosen from a few names: one of them, or several. */
import { describePreset, type Field } from "./schema";

export interface InputProps {
  field: Field;
  written: string | null;
  onChange: (value: string | null) => void;
}

const FEW = 4;
/** Letters that have room in a row of buttons. */
const SHORT = 16;

/** Few choices are buttons in a row, many a list; a value that is none of them is shown too. */
export function ChoiceInput({ field, id, written, onChange }: InputProps & { id: string }) {
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

interface ChoicesProps {
  field: Field;
  id: string;
  written: readonly string[];
  onChange: (names: readonly string[]) => void;
}

/** Each choice by itself; a name in the text that is none of them is shown too, to be taken out. */
export function ChoicesInput({ field, id, written, onChange }: ChoicesProps) {
  const names = [...new Set([...field.choices.map(String), ...written])];
  const turn = (name: string, on: boolean) => onChange(on ? [...written, name] : written.filter((each) => each !== name));
  return (
    <div id={id} class="choices" role="group" aria-label={field.name} aria-describedby={`${id}-text`}>
      {names.map((name) => (
        <label key={name}>
          <input type="checkbox" checked={written.includes(name)} onChange={(event) => turn(name, event.currentTarget.checked)} /> {name}
        </label>
      ))}
    </div>
  );
}
