/** What `prefd selftest` found last on this device, check by check. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { get } from "../api/client";
import type { KeptCheck, KeptChecks } from "../api/shapes";
import { formatClock } from "../text/times";

const TONES: Readonly<Record<KeptCheck["outcome"], string>> = { ok: "good", failed: "bad", skipped: "soft" };

export function SelfTest() {
  const checks = useSignal<readonly KeptCheck[]>([]);
  useEffect(() => {
    get<KeptChecks>("/v1/selftest").then(
      (found) => (checks.value = found.checks),
      () => undefined, // the command below says how to make them
    );
  }, []);
  if (!checks.value.length) return null;
  const newest = Math.max(...checks.value.map((each) => each.at));
  return (
    <details class="selftest">
      <summary>
        self-test of {formatClock(newest)}: {checks.value.filter((each) => each.outcome === "ok").length} of {checks.value.length} ok
      </summary>
      <ul class="findings">
        {checks.value.map((each) => (
          <li key={each.name}>
            <b class={TONES[each.outcome]}>{each.outcome}</b>
            <span class="mono">{each.name}</span>
            <span>
              {each.finding}
              {each.remedy && <span class="soft"> → {each.remedy}</span>}
            </span>
          </li>
        ))}
      </ul>
    </details>
  );
}
