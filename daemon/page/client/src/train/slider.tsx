/** A slider beside a number that people try. */
import type { InputProps } from "./choice";

export const NUMBER = /^[-+]?(\d[\d_]*\.?\d*|\.\d+)(e[-+]?\d+)?$/i;

const STEPS = 200;
const SPAN = 50;

/** A slider over the settings that people try: between two limits evenly, else by factors, from a 50th to 50 times the default. */
export function Slider({ field, written, onChange }: InputProps) {
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
