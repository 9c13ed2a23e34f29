/** Choices in a row, of which one is taken. */
interface ChipsProps<T extends string> {
  label: string;
  options: readonly { value: T; text: string; count?: number | undefined }[];
  value: T;
  onChange: (value: T) => void;
}

export function Chips<T extends string>({ label, options, value, onChange }: ChipsProps<T>) {
  return (
    <div class="chips" role="group" aria-label={label}>
      {options.map((each) => (
        <button key={each.value} type="button" class="chip" aria-pressed={each.value === value} onClick={() => onChange(each.value)}>
          {each.text}{" "}
          {each.count !== undefined && <span class="count number">{each.count.toLocaleString("en")}</span>}
        </button>
      ))}
    </div>
  );
}
