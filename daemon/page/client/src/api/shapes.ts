/** What the server answers, by the names that the page uses; made from its OpenAPI document. */
import type { Job, JobEvent, MetricsEvent, Progress, ProgressEvent, RemovedEvent, ResetEvent } from "../generated/api";

export type {
  HistoryLine,
  Job,
  JobDocument,
  JobEvent,
  MetricsEvent,
  Outcome,
  Progress,
  ProgressEvent,
  Queued,
  Status,
} from "../generated/api";

export type State = Job["state"];

/** The events of the stream, by their names. */
export interface Events {
  job: JobEvent;
  removed: RemovedEvent;
  metrics: MetricsEvent;
  progress: ProgressEvent;
  reset: ResetEvent;
}

export type Numbers = Record<string, number | null>;

/** A job as the list shows it. */
export interface JobSummary extends Job {
  loss: string;
  params: Record<string, unknown>;
  model: string;
  progress: Progress | null;
  eval: Numbers | null;
  spark: (number | null)[];
}

/** The prefix of a metric's name where it is of the held-out pairs. */
export const EVAL = "eval_";

export type Values = (number | null)[];

/** Curves in columns: each bucket's mean, and its extremes where a bucket holds more than one row. */
export interface Curves {
  rows: number;
  bucket: number;
  step: number[];
  epoch?: Values | null;
  time?: Values | null;
  metrics: Record<string, Column>;
  /** The steps at which a metric was not finite. */
  bad: Record<string, number[]>;
}

export interface Series extends Curves {
  job: number;
  attempt: number;
  eval: Curves;
}

export interface Column {
  mean: Values;
  min?: Values | null;
  max?: Values | null;
}
