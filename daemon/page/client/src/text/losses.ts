/** Writes a loss and its parameters in the field's letters: sigmoid β 0.1 ls 0.1. */
import { formatShort } from "./numbers";

const LETTERS: Readonly<Record<string, string>> = {
  beta: "β",
  gamma: "γ",
  delta: "δ",
  label_smoothing: "ls",
  nll_weight: "nll",
  length_normalize: "per token",
};

/** Formats parameters: β 0.1 ls 0.1. What is false or null is left out, what is true is told by its name alone. */
export function formatParams(params: Readonly<Record<string, unknown>>): string {
  return Object.entries(params)
    .map(([name, value]) => formatParam(LETTERS[name] ?? name, value))
    .filter(Boolean)
    .join(" ");
}

function formatParam(letter: string, value: unknown): string {
  if (value === true) return letter;
  if (value === false || value === null || value === undefined) return "";
  if (typeof value === "number") return `${letter} ${formatShort(value)}`;
  return typeof value === "string" ? `${letter} ${value}` : "";
}

/** The end of a path or the name of a model of the hub, which is what tells models apart. */
export function shortenModel(model: string): string {
  return model.replace(/\/+$/, "").split("/").at(-1) ?? model;
}
