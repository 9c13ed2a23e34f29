/** What the server answers, by the names that the page uses; made from its OpenAPI document. */
import type { Job, JobEvent, MetricsEvent, ProgressEvent, RemovedEvent, ResetEvent } from "../generated/api";

export type {
  Curves,
  HistoryLine,
  Job,
  JobDocument,
  Jobs,
  ListedJob,
  LossPart,
  MetricCurve,
  JobEvent,
  MetricsEvent,
  Outcome,
  Progress,
  ProgressEvent,
  Queued,
  Series,
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

/** The prefix of a metric's name where it is of the held-out pairs. */
export const EVAL = "eval_";

export type Values = readonly (number | null)[];
