/** Says in the top bar what the daemon does, or why nothing is heard of it. */
import { reachable } from "../api/client";
import type { Status } from "../api/shapes";
import { streaming } from "../api/stream";
import { RUNNING } from "../parts/state";
import { daemonTrouble, status } from "../stores/status";
import { formatSize } from "../text/numbers";
import { StartButton } from "./start";

export function Pill() {
  const [tone, text, rest] = describe();
  return (
    <div class={`pill ${tone}`} role="status">
      <span class="lamp" aria-hidden="true" />
      <span>{text}</span>
      {rest}
    </div>
  );
}

function describe(): [string, string, preact.ComponentChildren] {
  const known = status.value;
  if (!reachable.value) return ["down", "prefd web does not answer", null];
  if (known?.stopping) return ["waiting", "the daemon is stopping", null];
  if (known && !streaming.value) return ["waiting", "reconnecting", null];
  if (known) return ["up", describeJobs(known), <span class="wide size">{formatSize(known.memory_rss_bytes)}</span>];
  if (!daemonTrouble.value) return ["", "", null];
  return [
    "down",
    "daemon not running",
    <>
      <code class="wide">prefd start --detach</code>
      <StartButton />
    </>,
  ];
}

function describeJobs(known: Status): string {
  const running = RUNNING.reduce((sum, state) => sum + (known.jobs[state] ?? 0), 0);
  const paused = known.queue.paused_at === null ? "" : " · queue paused";
  return `${running} running · ${known.jobs["queued"] ?? 0} queued${paused}`;
}
