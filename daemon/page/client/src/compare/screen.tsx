/** Compare: which is better, and is that a fair question. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { useAddress } from "../address";
import { explain, get } from "../api/client";
import type { ComparisonOfJobs } from "../api/shapes";
import { listen } from "../api/stream";
import { Bones } from "../parts/bones";
import { Empty, Trouble } from "../parts/empty";
import { delay } from "../stores/delay";
import { AddJob, OfferedJobs } from "./choice";
import { CompareCurves } from "./curves";
import { CompareTable } from "./table";
import { wordMetrics } from "../text/metrics";

const WAIT_MS = 1_000;

export function CompareScreen() {
  const { query, change } = useAddress();
  const comparison = useSignal<ComparisonOfJobs | null>(null);
  const trouble = useSignal("");
  const ids = readIds(query["ids"] ?? "");
  const key = ids.join(",");
  const compare = (next: readonly number[]) => change({ ids: next.join(",") || null });
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
        <label class="soft">
          jobs{" "}
          <input class="field" inputMode="numeric" placeholder="4, 5, 6" value={query["ids"] ?? ""} onChange={(event) => change({ ids: readIds(event.currentTarget.value).join(",") || null })} />
        </label>
        <AddJob ids={ids} onChange={compare} />
      </header>
      <Trouble text={trouble.value} />
      {!ids.length && (
        <div class="card">
          <Empty title="Nothing to compare yet">
            <p>
              Take jobs here, or choose them in the list with <kbd>x</kbd> and press <kbd>c</kbd>.
            </p>
            <OfferedJobs ids={ids} onChange={compare} />
          </Empty>
        </div>
      )}
      {!comparison.value && !trouble.value && ids.length > 0 && <Bones shape="panel" />}
      {comparison.value && ids.length > 0 && (
        <>
          <CompareTable comparison={comparison.value} onRemove={(id) => compare(ids.filter((each) => each !== id))} />
          {comparison.value.notes.map((note) => (
            <p key={note} class="soft compare-note">
              {wordMetrics(note)}
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
