/** What the server answers, by the names that the page uses; made from its OpenAPI document. */
import type { Job, JobEvent, MetricsEvent, ProgressEvent, RemovedEvent, ResetEvent } from "../generated/api";

export type {
  Archived,
  CacheContents,
  ClaimedSpec,
  Cleaning,
  ComparisonOfJobs,
  Curves,
  DaemonSettings,
  DoubtedPairs,
  DrawnAnswer,
  DrawnSample,
  Findings,
  FoundPair,
  HealthFinding,
  HistoryLine,
  Job,
  JobBesideOthers,
  JobDocument,
  JobEvent,
  JobNeeds,
  Jobs,
  KeptCheck,
  KeptChecks,
  Lengths,
  ListedJob,
  Log,
  LossCurve,
  LossInfo,
  LossList,
  LossPart,
  MetricCurve,
  MetricsEvent,
  Outcome,
  PairsHead,
  PairsPage,
  Progress,
  ProgressEvent,
  Queued,
  ReportState,
  RowPart,
  RowsPage,
  RunFiles,
  SamplesPage,
  ScoredPair,
  Series,
  ShownRow,
  SpecFault,
  Status,
  StoredReferenceDocument,
  UseOfReference,
  Validation,
  XRay,
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

/** Whether a line that training has logged is of the held-out pairs. */
export function isEvaluation(row: Readonly<Record<string, unknown>>): boolean {
  return Object.keys(row).some((key) => key.startsWith(EVAL));
}

export type Values = readonly (number | null)[];
