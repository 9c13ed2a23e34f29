/** What the server answers while a spec is written. */
export type Show = "all" | "kept" | "cut" | "dropped" | "held_out";

export interface Fault {
  line: number | null;
  column: number | null;
  path: string | null;
  message: string;
}

export interface Verdict {
  ok: boolean;
  faults: Fault[];
  notes: string[];
  jobs: Record<string, unknown>[];
}

export interface Needs {
  reference: string;
  completions: number;
  cached: number;
  missing: number;
  tokens_scored: number;
  tokens_run: number;
  estimated_seconds: number;
  estimate_from: string;
  needs_reference: boolean;
  data: { used: number; held_out: number; lines?: string[] };
  memory: { total: number; machine: number; weights: number; optimizer: number; gradients: number; activations: number; warning?: string | null } | null;
  batches: { batch_tokens: number | null; grad_checkpoint: boolean; chunk_tokens: number; usual: boolean; steps: number; steps_per_epoch: number } | null;
}

export interface Lengths {
  from: number;
  width: number;
  counts: number[];
  mean: number;
  max: number;
}

export interface RowPart {
  text: string;
  tokens: number;
  counted?: number;
  cut?: number;
  /** Where special tokens stand in the text, as [begin, end). */
  special?: [number, number][];
}

export interface Row {
  row: number;
  place: string;
  drop?: string | null;
  held_out?: boolean;
  cut?: boolean;
  boundary?: boolean;
  prompt?: RowPart | null;
  chosen?: RowPart | null;
  rejected?: RowPart | null;
  remarks?: string[];
}

export interface RowsPage {
  report: { lines?: string[]; used: number; held_out: number };
  total: number;
  lengths: { prompt: Lengths; chosen: Lengths; rejected: Lengths };
  rows: Row[];
}
