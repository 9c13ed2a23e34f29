/** Cache: what scoring once has saved, and who each reference is. */
import { useSignal } from "@preact/signals";
import { useRoute } from "preact-iso";
import { useEffect } from "preact/hooks";
import { explain, get } from "../api/client";
import type { CacheContents } from "../api/shapes";
import { listen } from "../api/stream";
import { Bones } from "../parts/bones";
import { Command } from "../parts/command";
import { Empty, Trouble } from "../parts/empty";
import { Tile } from "../parts/tile";
import { delay } from "../stores/delay";
import { formatCount, formatShare, formatSize } from "../text/numbers";
import { ReferenceCard } from "./reference";
import { addUp } from "./sums";

const WAIT_MS = 2_000;

export function CacheScreen() {
  const { params } = useRoute();
  const cache = useSignal<CacheContents | null>(null);
  const trouble = useSignal("");
  useEffect(() => {
    let over = false;
    const ask = async () => {
      try {
        const found = await get<CacheContents>("/v1/cache");
        if (!over) cache.value = found;
        trouble.value = "";
      } catch (error) {
        trouble.value = explain(error);
      }
    };
    void ask();
    const again = delay(() => void ask(), WAIT_MS);
    const end = listen("job", again);
    return () => {
      over = true;
      end();
    };
  }, []);
  const all = cache.value?.references ?? [];
  const shown = all.filter((each) => each.fingerprint.startsWith((params["fingerprint"] ?? "").toLowerCase()));
  const sums = addUp(all);
  return (
    <>
      <header class="screen-head">
        <h1>Cache</h1>
        <p class="soft">What the reference said of each answer, once and for every job.</p>
      </header>
      <Trouble text={trouble.value} />
      {!cache.value && !trouble.value && (
        <>
          <Bones count={4} shape="short tile" box="tiles" />
          <Bones shape="panel" />
        </>
      )}
      {cache.value && !all.length && (
        <div class="card">
          <Empty title="Nothing has been scored yet">
            <p>The first job whose loss compares with a reference fills the cache; every later one over the same pairs starts at once.</p>
            <p class="empty-action">
              <a class="button primary" href="/train">
                New job
              </a>
            </p>
          </Empty>
        </div>
      )}
      {all.length > 0 && (
        <dl class="tiles">
          <Tile name="answers" value={formatCount(sums.entries)} />
          <Tile name="tokens" value={formatCount(sums.tokens)} />
          <Tile name="size" value={formatSize(sums.bytes)} />
          {sums.needed > 0 && <Tile name="found when needed" value={formatShare(sums.answered / sums.needed)} good />}
        </dl>
      )}
      {all.length > 0 && !shown.length && <Empty title="No reference's fingerprint starts so" />}
      {shown.map((each) => (
        <ReferenceCard key={each.fingerprint} reference={each} open={shown.length === 1 && Boolean(params["fingerprint"])} />
      ))}
      {all.length > 0 && (
        <section class="card block below" aria-label="Upkeep">
          <h2>Upkeep</h2>
          <p class="soft">To be typed where prefd runs: each says first what it would do, with --dry-run or by its nature.</p>
          <div class="commands">
            <Command text="prefd cache verify" what="read every answer and its checksum" />
            <Command text="prefd cache compact --dry-run" what="join small segments" />
            <Command text="prefd cache prune --unused-for 90d --dry-run" what="remove what no job needs" />
          </div>
        </section>
      )}
    </>
  );
}
