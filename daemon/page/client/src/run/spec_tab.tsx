/** What exactly was run: the spec as it was claimed, with the versions, plugins and data, and what it left behind. */
import { useEffect, useState } from "preact/hooks";
import type { JobDocument } from "../api/shapes";
import { Button } from "../parts/button";
import { tell } from "../parts/toast";
import { status } from "../stores/status";
import { formatSize } from "../text/numbers";
import { tidySpec } from "./spec";

export function SpecTab({ run }: { run: JobDocument }) {
  const [text, setText] = useState("");
  useEffect(() => {
    if (run.spec) void import("yaml").then(({ stringify }) => setText(stringify(tidySpec(run.spec))));
  }, [run.spec]);
  const copy = () => void navigator.clipboard.writeText(text).then(() => tell("The spec is copied"));
  return (
    <div class="below two-columns">
      <section class="card spec">
        <div class="spec-head">
          <h2>Spec as claimed</h2>
          {text && <Button onClick={copy}>Copy</Button>}
        </div>
        {run.spec ? <pre tabIndex={0}>{text}</pre> : <p class="soft">This version of prefd does not understand it.</p>}
      </section>
      <div>
        <Claimed run={run} />
        <Left run={run} />
      </div>
    </div>
  );
}

function Claimed({ run }: { run: JobDocument }) {
  const frozen = run.frozen;
  if (!frozen) return null;
  const current = status.value?.versions ?? {};
  return (
    <section class="card facts">
      <h2>Claimed with</h2>
      <dl class="pairs-of-facts">
        {Object.entries(frozen.versions).map(([name, version]) => (
          <Fact key={name} name={name} value={version} change={current[name] && current[name] !== version ? `now ${current[name]}` : ""} />
        ))}
        {Object.entries(frozen.plugins).map(([name, version]) => (
          <Fact key={name} name={name} value={version} />
        ))}
        {Object.entries(frozen.data).map(([name, facts]) => (
          <Fact key={name} name={name} value={describeData(facts)} />
        ))}
      </dl>
    </section>
  );
}

function Left({ run }: { run: JobDocument }) {
  const folders = [
    ["folder", run.run_gone ? `${run.run} (gone)` : run.run],
    ["adapter", run.adapter],
    ["fused", run.fused],
    ["peft", run.peft],
  ].filter((each): each is [string, string] => Boolean(each[1]));
  return (
    <section class="card facts">
      <h2>On disk</h2>
      <dl class="pairs-of-facts">
        {run.job.bytes !== null && <Fact name="size" value={formatSize(run.job.bytes)} />}
        {folders.map(([name, path]) => (
          <Fact key={name} name={name} value={path} />
        ))}
        <Fact name="source" value={run.job.source} />
      </dl>
    </section>
  );
}

function Fact({ name, value, change = "" }: { name: string; value: string; change?: string }) {
  return (
    <>
      <dt class="soft">{name}</dt>
      <dd class="mono">
        {value} {change && <span class="amber">{change}</span>}
      </dd>
    </>
  );
}

function describeData(facts: Record<string, unknown>): string {
  return Object.entries(facts)
    .map(([name, value]) => (name === "bytes" ? formatSize(Number(value)) : `${name} ${String(value).slice(0, 16)}`))
    .join(", ");
}
