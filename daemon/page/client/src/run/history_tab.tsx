/** Each state that the job has been in, since when, for how long, and why. */
import type { JobDocument } from "../api/shapes";
import { StateMark } from "../parts/state";
import { ENDED } from "../parts/state";
import { now } from "../stores/clock";
import { formatClock, formatDuration } from "../text/times";

export function HistoryTab({ run }: { run: JobDocument }) {
  const { history } = run;
  return (
    <div class="card below scroll-x">
      <table class="table history">
        <thead>
          <tr>
            <th>since</th>
            <th>state</th>
            <th class="right">for</th>
            <th>why</th>
          </tr>
        </thead>
        <tbody>
          {history.map((line, index) => {
            const until = history[index + 1]?.at ?? (ENDED.includes(line.state) ? null : now.value);
            return (
              <tr key={index}>
                <td class="number nowrap">{formatClock(line.at)}</td>
                <td>
                  <StateMark state={line.state} />
                </td>
                <td class="right number nowrap">{until === null ? "" : formatDuration(until - line.at)}</td>
                <td class="prose">{line.reason}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}
