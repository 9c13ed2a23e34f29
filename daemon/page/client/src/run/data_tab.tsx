/** What became of the job's rows: used, held out, cut, and left out with the reason and the places. */
import type { JobDocument } from "../api/shapes";
import { Empty } from "../parts/empty";
import { formatCount } from "../text/numbers";
import { Doubts } from "./doubts";
import { isClients } from "./spec";

interface Unusable {
  count?: number;
  rows?: number[];
  places?: string[];
}

interface Source {
  source?: string;
  rows?: number;
  format?: string;
  truncated?: number;
  boundary?: number;
  unusable?: Record<string, Unusable>;
  pairs?: number;
  columns?: string[];
  unread?: string[];
  notes?: string[];
  left_out?: number;
}

interface Data extends Source {
  used?: number;
  held_out?: number;
  validation?: Source | null;
  lines?: string[];
}

export function DataTab({ run }: { run: JobDocument }) {
  const data = (run.precompute?.summary?.["data"] ?? run.training?.summary?.["data"]) as Data | null | undefined;
  if (!data)
    return (
      <div class="card below">
        <Empty title="Not read yet">
          <p>What became of each row is told when the first phase has read them.</p>
        </Empty>
      </div>
    );
  const told = new Set([...(data.notes ?? []), ...(data.validation?.notes ?? [])]); // with their source below, as what is unusable is
  const lines = (data.lines ?? []).filter((line) => !line.startsWith("unusable:") && !told.has(line));
  return (
    <div class="below">
      <dl class="tiles">
        <Count name="Rows" count={data.rows} note={data.format ? `format ${data.format}` : ""} />
        <Count name="Trained on" count={data.used} note="pairs" />
        <Count name="Held out" count={data.held_out} note="pairs" />
        <Count name="Cut" count={data.truncated} note="at the length limit" />
        <Count name="Left out" count={sumUnusable(data) + (data.left_out ?? 0)} note="rows" />
      </dl>
      {lines.length > 0 && (
        <section class="card facts">
          {lines.map((line) => (
            <p key={line}>{line}</p>
          ))}
        </section>
      )}
      <SourceCard title={data.source ?? "the rows"} source={data} />
      {data.validation && <SourceCard title={`held out: ${data.validation.source ?? ""}`} source={data.validation} />}
      {!isClients(run.spec) && <Doubts job={run.job.id} />}
    </div>
  );
}

function sumUnusable(source: Source): number {
  return Object.values(source.unusable ?? {}).reduce((sum, each) => sum + (each.count ?? 0), 0);
}

function Count({ name, count, note }: { name: string; count: number | undefined; note: string }) {
  return (
    <div class="card tile">
      <dt class="soft">{name}</dt>
      <dd class="number">{formatCount(count ?? 0)}</dd>
      <dd class="soft note">{note}</dd>
    </div>
  );
}

function SourceCard({ title, source }: { title: string; source: Source }) {
  const reasons = Object.entries(source.unusable ?? {});
  return (
    <section class="card facts">
      <h2 class="path">{title}</h2>
      {(source.columns ?? []).length > 0 && (
        <p>
          <span class="soft">columns read</span> {source.columns!.join(", ")}
          {(source.unread ?? []).length > 0 && (
            <>
              {" "}
              · <span class="soft">not read</span> {source.unread!.join(", ")}
            </>
          )}
        </p>
      )}
      {(source.notes ?? []).map((note) => (
        <p key={note} class="amber">
          {note}
        </p>
      ))}
      {reasons.length > 0 && (
        <table class="table">
          <thead>
            <tr>
              <th>why left out</th>
              <th class="right">rows</th>
              <th>the first of them</th>
            </tr>
          </thead>
          <tbody>
            {reasons.map(([reason, { count, places, rows }]) => (
              <tr key={reason}>
                <td>{reason}</td>
                <td class="right number">{formatCount(count ?? 0)}</td>
                <td class="soft mono">{(places?.length ? places : (rows ?? []).map(String)).join(", ")}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}
