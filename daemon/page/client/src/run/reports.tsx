/** Where a job is reported to besides, how far each report is, and what went wrong with it. */
import type { JobDocument } from "../api/shapes";
import { Command } from "../parts/command";
import { describeReport } from "../text/reports";

export function Reports({ run }: { run: JobDocument }) {
  if (!run.reports.length) return null;
  return (
    <section class="card facts">
      <h2>Reports</h2>
      {run.reports.map((report) => (
        <div key={report.to} class="report-to">
          <p>
            <b>{report.to}</b> <span class="soft">{describeReport(report)}</span>
          </p>
          {report.place && <Place text={report.place} />}
          {report.error && <p class="bad prose">{report.error}</p>}
        </div>
      ))}
    </section>
  );
}

/** An address to open, or a command to copy: a plugin says which, so only what is surely an address is a link. */
function Place({ text }: { text: string }) {
  if (!/^https?:\/\/\S+$/.test(text)) return <Command text={text} />;
  return (
    <p>
      <a href={text} target="_blank" rel="noreferrer">
        {text}
      </a>
    </p>
  );
}
