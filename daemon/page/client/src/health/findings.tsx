/** What `prefd doctor` found, what is wrong first. */
export interface Finding {
  level: string;
  name: string;
  message: string;
  remedy?: string | null;
}

const ORDER = ["fail", "warn", "ok"];
const TONES: Readonly<Record<string, string>> = { fail: "bad", warn: "amber", ok: "good" };

export function Findings({ findings }: { findings: readonly Finding[] }) {
  const sorted = [...findings].sort((a, b) => ORDER.indexOf(a.level) - ORDER.indexOf(b.level));
  return (
    <ul class="findings">
      {sorted.map((each) => (
        <li key={each.name + each.message}>
          <b class={TONES[each.level] ?? ""}>{each.level}</b>
          <span class="mono">{each.name}</span>
          <span>
            {each.message}
            {each.remedy && <span class="soft"> → {each.remedy}</span>}
          </span>
        </li>
      ))}
    </ul>
  );
}
