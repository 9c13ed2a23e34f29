/** Which charts a job gets: those of every loss in a fixed order, then its loss's parts and whatever else its plugin reports. */
import { EVAL, type Series } from "../api/shapes";

export type Color = "blue" | "orange" | "green" | "violet" | "grey" | "teal" | "red";

export interface PanelLine {
  key: string;
  label: string;
  color: Color;
  evalColor: Color;
}

export interface Panel {
  id: string;
  title: string;
  unit: string;
  lines: readonly PanelLine[];
  /** Where the line is before anything is learnt. */
  level?: number;
  limits?: readonly [number, number];
  log?: boolean;
  /** Settings and memory are drawn as they are: no smoothing, and no value is a spike. */
  exact?: boolean;
}

export const METRICS = {
  loss: "loss",
  accuracy: "rewards/accuracies",
  margin: "rewards/margins",
} as const;

const SIDES: readonly (readonly [string, Color])[] = [
  ["chosen", "blue"],
  ["rejected", "orange"],
];

const FIXED: readonly Panel[] = [
  { id: "loss", title: "Loss", unit: "mean per pair", lines: [train("loss")] },
  { id: "accuracy", title: "Reward accuracy", unit: "share of pairs", lines: [train(METRICS.accuracy)], level: 0.5, limits: [0, 1] },
  { id: "margin", title: "Reward margin", unit: "chosen − rejected", lines: [train(METRICS.margin)], level: 0 },
  { id: "rewards", title: "Rewards", unit: "mean per pair", lines: sides("rewards"), level: 0 },
  { id: "logps", title: "Log-probabilities", unit: "nats, mean of sums", lines: sides("logps") },
  { id: "grad_norm", title: "Gradient norm", unit: "before clipping", lines: [plain("grad_norm", "violet")], log: true },
  { id: "learning_rate", title: "Learning rate", unit: "", lines: [plain("learning_rate", "grey")], exact: true },
  { id: "speed", title: "Speed", unit: "tokens a second", lines: [plain("tokens_per_second", "green")] },
  { id: "memory", title: "Peak memory", unit: "GB", lines: [plain("peak_memory_gb", "grey")], exact: true },
  { id: "reference", title: "Reference", unit: "answers a step", lines: [named("ref_hits", "from the cache", "green"), named("ref_scored", "scored", "orange")], exact: true },
];

/** What only counts on; the tiles say how far. */
const NO_CURVES = new Set(["step", "epoch", "time", "num_tokens"]);

/** Lists the charts for what `series` holds, in the order in which they stand. `ofClient`: the loss is what a client has sent. */
export function choosePanels(series: Series, ofClient = false): Panel[] {
  const held = new Set([...Object.keys(series.metrics), ...Object.keys(series.eval.metrics).map((key) => key.slice(EVAL.length))]);
  const fixed = FIXED.filter((panel) => panel.lines.some((line) => held.has(line.key)));
  const shown = new Set([...FIXED.flatMap((panel) => panel.lines.map((line) => line.key)), ...NO_CURVES]);
  const others = [...held].filter((key) => !shown.has(key)).sort();
  const told = ofClient ? fixed.map((panel) => (panel.id === "loss" ? { ...panel, unit: "as the client has it" } : panel)) : fixed;
  return [...told, ...others.map(makePanel)];
}

function makePanel(key: string): Panel {
  const part = key.startsWith("loss/");
  return { id: key, title: part ? key.slice("loss/".length) : key, unit: part ? "part of the loss" : "", lines: [train(key)] };
}

function train(key: string): PanelLine {
  return { key, label: "train", color: "blue", evalColor: "orange" };
}

function plain(key: string, color: Color): PanelLine {
  return named(key, "", color);
}

function named(key: string, label: string, color: Color): PanelLine {
  return { key, label, color, evalColor: color };
}

function sides(kind: string): PanelLine[] {
  return SIDES.map(([side, color]) => named(`${kind}/${side}`, side, color));
}
