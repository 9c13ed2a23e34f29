/** A card for a job that runs: how far, how fast, how long yet, and its newest numbers with their curves. */
import { useEffect, useMemo } from "preact/hooks";
import type { ListedJob, Values } from "../api/shapes";
import { lastOf } from "../charts/curves";
import { METRICS } from "../charts/panels";
import { Button } from "../parts/button";
import { Spark } from "../parts/spark";
import { StateMark } from "../parts/state";
import { now } from "../stores/clock";
import { followSeries } from "../stores/series";
import { formatNumber, formatShare } from "../text/numbers";
import { ACTIONS, act } from "./actions";
import { Loss } from "./loss";
import { formatPercent, readPace } from "./pace";
import { PaceBar, PaceNumbers } from "./pace_parts";

const POINTS = 150;
const CURVES = [
  { key: METRICS.loss, title: "Loss", color: "blue", format: formatNumber },
  { key: METRICS.accuracy, title: "Accuracy", color: "green", format: formatShare },
  { key: METRICS.margin, title: "Margin", color: "orange", format: formatNumber },
] as const;

export function RunningCard({ job }: { job: ListedJob }) {
  const following = useMemo(() => followSeries(job.id, POINTS), [job.id]);
  useEffect(() => following.end, [following]);
  const series = following.series.value;
  return (
    <article class="card running-card">
      <header>
        <StateMark state={job.state} />
        <a class="name" href={`/jobs/${job.id}/charts`}>
          {job.name}
        </a>
        <span class="soft">#{job.id}</span>
        <Loss parts={job.summary?.task?.losses ?? []} />
        <PaceLine job={job} />
      </header>
      {job.state !== "precomputing" && (
        <div class="running-curves">
          {CURVES.filter(({ key }) => !series?.step.length || series.metrics[key]).map(({ key, title, color, format }) => (
            <LiveCurve key={key} title={title} color={color} values={series?.metrics[key]?.mean ?? []} format={format} />
          ))}
        </div>
      )}
    </article>
  );
}

function PaceLine({ job }: { job: ListedJob }) {
  const pace = readPace(job.state, job.summary?.progress ?? null, now.value);
  const [pause, cancel] = [ACTIONS.find((each) => each.name === "pause")!, ACTIONS.find((each) => each.name === "cancel")!];
  return (
    <div class="pace number">
      {pace ? (
        <>
          <PaceBar pace={pace} label={`${job.name}: ${formatPercent(pace)}`} />
          <PaceNumbers pace={pace} />
        </>
      ) : (
        <span class="soft">starting</span>
      )}
      <span class="pace-buttons">
        <Button tone="plain" icon="pause" label={`Pause ${job.name}`} onClick={() => void act(pause, [job])} />
        <Button tone="plain" icon="close" label={`Cancel ${job.name}`} onClick={() => void act(cancel, [job])} />
      </span>
    </div>
  );
}

interface LiveCurveProps {
  title: string;
  color: string;
  values: Values;
  format: (value: number | null) => string;
}

function LiveCurve({ title, color, values, format }: LiveCurveProps) {
  return (
    <div class="live-curve">
      <div>
        <span class="soft">{title}</span>
        <b class="number">{format(lastOf(values))}</b>
      </div>
      <Spark values={values} width={400} height={40} color={color} label={`${title} while it trains`} />
    </div>
  );
}
