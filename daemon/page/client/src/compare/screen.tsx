/** Compare: which is better, and is that a fair question. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { useAddress } from "../address";
import { explain, get } from "../api/client";
import type { ComparisonOfJobs } from "../api/shapes";
import { listen } from "../api/stream";
import { Empty, Trouble } from "../parts/empty";
import { delay } from "../stores/delay";
import { CompareCurves } from "./curves";
import { CompareTable } from "./table";

const WAIT_MS = 1_000;

export function CompareScreen() {
  const { query, change } = useAddress();
  const comparison = useSignal<ComparisonOfJobs | null>(null);
  const trouble = useSignal("");
  const ids = readIds(query["ids"] ?? "");
  const key = ids.join(",");
  useEffect(() => {
    if (!key) {
      comparison.value = null;
      trouble.value = "";
      return;
    }
    let over = false;
    const ask = async () => {
      try {
        const found = await get<ComparisonOfJobs>("/v1/compare", { ids: key });
        if (over) return;
        comparison.value = found;
        trouble.value = "";
      } catch (error) {
        if (!over) trouble.value = explain(error);
      }
    };
    void ask();
    const again = delay(() => void ask(), WAIT_MS);
    const end = listen("job", (event) => ids.includes(event.job) && again());
    return () => {
      over = true;
      end();
    };
  }, [key]);
  return (
    <>
      <header class="compare-head">
        <h1>Compare</h1>
        <label>
          jobs{" "}
          <input class="field" inputMode="numeric" placeholder="4, 5, 6" value={query["ids"] ?? ""} onChange={(event) => change({ ids: readIds(event.currentTarget.value).join(",") || null })} />
        </label>
      </header>
      <Trouble text={trouble.value} />
      {!ids.length && (
        <div class="card">
          <Empty title="Nothing to compare yet">
            <p>Tick two jobs or more in the list and press Compare, or write their numbers above.</p>
          </Empty>
        </div>
      )}
      {comparison.value && ids.length > 0 && (
        <>
          <CompareTable comparison={comparison.value} />
          {comparison.value.notes.map((note) => (
            <p key={note} class="soft compare-note">
              {note}
            </p>
          ))}
        </>
      )}
      {ids.length > 0 && <CompareCurves key={key} ids={ids} />}
    </>
  );
}

/** Reads job numbers out of `4, 5 6` or `4-6`; each once, at most so many as can be told apart. */
function readIds(text: string): number[] {
  const found = new Set<number>();
  for (const [, first, last] of text.matchAll(/(\d+)(?:\s*-\s*(\d+))?/g)) {
    for (let id = Number(first); id <= Number(last ?? first) && found.size < MOST; id++) found.add(id);
  }
  return [...found];
}

const MOST = 12;
