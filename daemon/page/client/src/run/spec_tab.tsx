/** What exactly was run: the spec as it was claimed, with the versions, plugins and data, and what has changed since. */
import { Fragment } from "preact";
import { useEffect, useState } from "preact/hooks";
import { useAddress } from "../address";
import type { ClaimedSpec, JobDocument } from "../api/shapes";
import { Button } from "../parts/button";
import { Chips } from "../parts/chips";
import { Trouble } from "../parts/empty";
import { tell } from "../parts/toast";
import { useAnswer } from "../stores/answer";
import { formatSize } from "../text/numbers";
import { Fact } from "./fact";
import { OnDisk } from "./on_disk";
import { Reports } from "./reports";
import { tidySpec } from "./spec";

const AS = [
  { value: "run", text: "as it is run" },
  { value: "file", text: "as handed in" },
] as const;

export function SpecTab({ run }: { run: JobDocument }) {
  const { query, change } = useAddress();
  const { value: claimed, trouble } = useAnswer<ClaimedSpec>(`/v1/jobs/${run.job.id}/spec`, run.job.state);
  const [yaml, setYaml] = useState("");
  const spec = claimed?.spec ?? run.spec;
  useEffect(() => {
    let isNewest = true; // an import that was asked for later may be there before
    if (spec) void import("yaml").then(({ stringify }) => isNewest && setYaml(stringify(tidySpec(spec))));
    return () => void (isNewest = false);
  }, [spec]);
  const asFile = query["as"] === "file" && claimed?.text;
  const text = asFile ? claimed.text! : yaml;
  const copy = () => void navigator.clipboard.writeText(text).then(() => tell("The spec is copied"));
  return (
    <div class="below">
      <Trouble text={trouble} />
      {claimed?.changes.map((line) => (
        <div key={line} class="notice">
          <span class="amber">changed since</span> {line}
        </div>
      ))}
      <div class="spec-columns below">
        <section class="card spec">
          <div class="spec-head">
            <h2>Spec</h2>
            {claimed?.text && <Chips label="Which text" options={AS} value={asFile ? "file" : "run"} onChange={(value) => change({ as: value === "file" ? "file" : null })} />}
            {text && <Button onClick={copy}>Copy</Button>}
          </div>
          {text ? <pre tabIndex={0}><Yaml text={text} /></pre> : run.spec === null && <p class="soft">This version of prefd does not understand it.</p>}
        </section>
        <div>
          {claimed && isClaimed(claimed) && <Claimed claimed={claimed} />}
          <Reports run={run} />
          <OnDisk run={run} />
        </div>
      </div>
    </div>
  );
}

/** Whether a run has begun, or a file is known. */
function isClaimed({ versions, plugins, data, file }: ClaimedSpec): boolean {
  return [versions, plugins, data].some((facts) => Object.keys(facts).length > 0) || Boolean(file);
}

function Claimed({ claimed }: { claimed: ClaimedSpec }) {
  return (
    <section class="card facts">
      <h2>Claimed with</h2>
      <dl class="pairs-of-facts">
        {[...Object.entries(claimed.versions), ...Object.entries(claimed.plugins)].map(([name, version]) => (
          <Fact key={name} name={name}>
            {version}
          </Fact>
        ))}
        {Object.entries(claimed.data).map(([name, facts]) => (
          <Fact key={name} name={name}>
            {describeData(facts)}
          </Fact>
        ))}
        {claimed.file && <Fact name="file">{claimed.file}</Fact>}
      </dl>
    </section>
  );
}

function describeData(facts: Readonly<Record<string, unknown>>): string {
  return Object.entries(facts)
    .map(([name, value]) => (name === "bytes" ? formatSize(Number(value)) : `${name} ${String(value).slice(0, 16)}`))
    .join(", ");
}

const KEY = /^(\s*(?:- )?)([\w./-]+:)(?=\s|$)/;

/** A text of YAML whose keys stand out from their values. */
function Yaml({ text }: { text: string }) {
  return (
    <>
      {text.split("\n").map((line, index) => {
        const key = KEY.exec(line);
        if (!key) return `${line}\n`;
        return (
          <Fragment key={index}>
            {key[1]}
            <span class="yaml-key">{key[2]}</span>
            {`${line.slice(key[0].length)}\n`}
          </Fragment>
        );
      })}
    </>
  );
}
