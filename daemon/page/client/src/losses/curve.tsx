/** A loss over z, the policy's preference for the chosen answer beyond the reference's; it moves with the parameters. */
import { useEffect, useState } from "preact/hooks";
import { get } from "../api/client";
import { formatShort } from "../text/numbers";
import type { LossCurve, LossInfo } from "../api/shapes";

const WIDTH = 240;
const HEIGHT = 112;
const WAIT_MS = 120;
/** Unscaled losses are drawn over this many nats; a small beta spreads them over more. */
const NEAR = 10;
const FAR = 30;

export function Curve({ loss, params }: { loss: LossInfo; params: Readonly<Record<string, string>> }) {
  const [curve, setCurve] = useState<LossCurve | null>(null);
  const [trouble, setTrouble] = useState("");
  const asked = JSON.stringify([loss.name, params]);
  const beta = Number(params.beta ?? loss.params.beta?.default ?? 1);
  const far = beta > 0 && beta < 0.3 ? FAR : NEAR;
  useEffect(() => {
    const abort = new AbortController();
    const timer = setTimeout(() => {
      get<LossCurve>(`/v1/losses/${encodeURIComponent(loss.name)}/curve`, { ...params, from: -far, to: far }, abort.signal).then(
        (found) => {
          setCurve(found);
          setTrouble("");
        },
        (error: unknown) => !abort.signal.aborted && setTrouble(error instanceof Error ? error.message : String(error)),
      );
    }, WAIT_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [asked]);
  if (!curve?.z.length) return <NoCurve loss={loss} far={far} trouble={trouble} />;
  return <Drawing curve={curve} loss={loss} stale={Boolean(trouble)} />;
}

/** The frame of a curve that is not there yet, as large as the one that will be. */
function NoCurve({ loss, far, trouble }: { loss: LossInfo; far: number; trouble: string }) {
  return (
    <figure class="curve">
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} aria-hidden="true">
        <path class="axis" d={`M0 ${HEIGHT - 6}H${WIDTH}M${WIDTH / 2} 0V${HEIGHT}`} />
      </svg>
      <Ends low={-far} high={far} />
      <p>{trouble || loss.summary}</p>
    </figure>
  );
}

function Drawing({ curve, loss, stale }: { curve: LossCurve; loss: LossInfo; stale: boolean }) {
  const low = curve.z[0] ?? 0;
  const high = curve.z.at(-1) ?? 1;
  const finite = curve.loss.filter((value): value is number => value !== null);
  const bottom = Math.min(0, ...finite);
  const top = Math.max(...finite, bottom + 1e-9);
  const x = (z: number) => ((z - low) / (high - low)) * WIDTH;
  const y = (value: number) => 6 + (1 - (value - bottom) / (top - bottom)) * (HEIGHT - 12);
  const start = curve.loss[findNearest(curve.z, 0)] ?? null;
  const points = curve.z.flatMap((z, index) => {
    const value = curve.loss[index];
    return value === null || value === undefined ? [] : [`${x(z).toFixed(1)} ${y(value).toFixed(1)}`];
  });
  const name = loss.needs_reference ? "at the start" : "at z = 0";
  return (
    <figure class={`curve ${stale ? "stale" : ""}`}>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={`${loss.name} over z from ${low} to ${high} nats, ${formatShort(start)} ${name}`}>
        <path class="axis" d={`M0 ${y(bottom).toFixed(1)}H${WIDTH}M${x(0).toFixed(1)} 0V${HEIGHT}`} />
        <path class="line" d={`M${points.join("L")}`} />
        {start !== null && <circle cx={x(0)} cy={y(start)} r={4} />}
        {start !== null && (
          <text x={x(0) + 8} y={Math.max(12, y(start) - 7)}>
            {formatShort(start)} {name}
          </text>
        )}
      </svg>
      <Ends low={low} high={high} />
      <p>{loss.summary}</p>
    </figure>
  );
}

function Ends({ low, high }: { low: number; high: number }) {
  return (
    <figcaption>
      <span>z = {formatShort(low)}</span>
      <span>{formatShort(high)} nats</span>
    </figcaption>
  );
}

function findNearest(values: readonly number[], wanted: number): number {
  return values.reduce((best, value, index) => (Math.abs(value - wanted) < Math.abs((values[best] ?? Infinity) - wanted) ? index : best), 0);
}
