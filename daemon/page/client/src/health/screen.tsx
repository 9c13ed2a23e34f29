/** Daemon: what it does and goes by, and what `prefd doctor` finds of this machine and home. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { explain, get, post } from "../api/client";
import type { Findings, HealthFinding, Status } from "../api/shapes";
import { Bones } from "../parts/bones";
import { Button } from "../parts/button";
import { Command } from "../parts/command";
import { confirm } from "../parts/confirm";
import { Trouble } from "../parts/empty";
import { tell, tellError } from "../parts/toast";
import { StartButton } from "../shell/start";
import { daemonTrouble, status } from "../stores/status";
import { formatSize } from "../text/numbers";
import { formatClock, formatDuration } from "../text/times";
import { Findings as FindingList } from "./findings";
import { SelfTest } from "./selftest";
import { Settings } from "./settings";

export function HealthScreen() {
  const findings = useSignal<readonly HealthFinding[] | null>(null);
  const trouble = useSignal("");
  const asking = useSignal(false);
  const check = async (anew: boolean) => {
    asking.value = true;
    try {
      findings.value = (await get<Findings>("/v1/doctor", { anew })).findings;
      trouble.value = "";
    } catch (error) {
      trouble.value = explain(error);
    } finally {
      asking.value = false;
    }
  };
  useEffect(() => void check(false), []);
  return (
    <>
      <h1 class="hidden-label">Daemon</h1>
      {status.value ? <Running status={status.value} /> : <Down reason={daemonTrouble.value} />}
      <section class="card block below" aria-label="Doctor">
        <header class="loss-head">
          <h2>Doctor</h2>
          <span class="soft">{asking.value ? "looks at the machine and the home, for some seconds" : "what it finds of this machine and home"}</span>
          <Button disabled={asking.value} onClick={() => void check(true)}>
            Look again
          </Button>
        </header>
        <Trouble text={trouble.value} />
        {findings.value ? <FindingList findings={findings.value} /> : !trouble.value && <Bones count={6} shape="finding" />}
        <SelfTest />
        <Command text="prefd selftest" what="two minutes: numbers, memory, speed, kill and resume on this device" />
      </section>
      <Settings />
    </>
  );
}

function Down({ reason }: { reason: string }) {
  return (
    <section class="card block" aria-label="The daemon">
      <header class="loss-head">
        <h2>The daemon is not running</h2>
        <StartButton />
      </header>
      <p class="soft">{reason || "What is on disk is shown all the same; jobs wait."}</p>
      <Command text="prefd start --detach" what="start it in the background" />
    </section>
  );
}

function Running({ status: now }: { status: Status }) {
  const facts: [string, string][] = [
    ["running for", formatDuration(now.uptime_s)],
    ["since", formatClock(now.started_at)],
    ["home", now.home],
    ["memory", formatSize(now.memory_rss_bytes)],
    ["process", String(now.pid)],
    ["queue", now.queue.paused_at === null ? "starts jobs" : `paused since ${formatClock(now.queue.paused_at)}`],
    ["waits for", now.queue.waits_for ?? ""],
    ["a worker may take", now.worker.limits || "what it needs"],
    ["staying awake", now.power.kept_awake ?? ""],
    ["heat", now.power.thermal_pressure ?? ""],
    ["short of memory", now.power.memory_pressure ?? ""],
    ...Object.entries(now.versions).map(([name, version]): [string, string] => [name, version]),
  ];
  return (
    <section class="card block" aria-label="The daemon">
      <header class="loss-head">
        <h2>The daemon runs</h2>
        <Button onClick={() => void stop()}>Stop it</Button>
      </header>
      {now.notes.map((note) => (
        <p key={note} class="notice">
          {note}
        </p>
      ))}
      {now.settings.error && <p class="notice error">config.toml: {now.settings.error}</p>}
      {Object.entries(now.catalog.failed_plugins).map(([name, reason]) => (
        <p key={name} class="notice error">
          plugin {name}: {reason}
        </p>
      ))}
      <dl class="pairs-of-facts in-columns">
        {facts
          .filter(([, value]) => value)
          .map(([name, value]) => (
            <div key={name}>
              <dt class="soft">{name}</dt>
              <dd>{value}</dd>
            </div>
          ))}
      </dl>
    </section>
  );
}

async function stop(): Promise<void> {
  if (!(await confirm("Stop the daemon?", "What runs saves its state and goes on with the next start. The page stays, and can read.", "Stop it"))) return;
  try {
    await post("/v1/stop");
    tell("It stops");
  } catch (error) {
    tellError(error);
  }
}
