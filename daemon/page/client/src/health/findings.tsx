/** What `prefd doctor` found, what is wrong first. */
import type { HealthFinding } from "../api/shapes";

const ORDER = ["fail", "warn", "ok"];
const TONES: Readonly<Record<string, string>> = { fail: "bad", warn: "amber", ok: "good" };

export function Findings({ findings }: { findings: readonly HealthFinding[] }) {
  const sorted = [...findings].sort((a, b) => ORDER.indexOf(a.level) - ORDER.indexOf(b.level));
  return (
    <ul class="findings">
      {sorted.map((each) => (
        <li key={each.subject + each.detail}>
          <b class={TONES[each.level] ?? ""}>{each.level}</b>
          <span class="mono">{each.subject}</span>
          <span>
            {each.detail}
            {each.remedy && <span class="soft"> → {each.remedy}</span>}
          </span>
        </li>
      ))}
    </ul>
  );
}
