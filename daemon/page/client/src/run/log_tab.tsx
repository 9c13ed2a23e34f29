/** What the job's workers wrote: the end of it, with a search, and followed while the job runs. */
import { useEffect, useRef, useState } from "preact/hooks";
import { useAddress } from "../address";
import type { JobDocument } from "../api/shapes";
import { Button } from "../parts/button";
import { Empty, Trouble } from "../parts/empty";
import { RUNNING } from "../parts/state";
import { formatCount, pluralize } from "../text/numbers";
import { useLog } from "./log";

export function LogTab({ run }: { run: JobDocument }) {
  const { query, change } = useAddress();
  const find = query["find"] ?? "";
  const runs = RUNNING.includes(run.job.state);
  const { lines, path, earlier, trouble } = useLog(run.job.id, runs);
  const [following, setFollowing] = useState(true);
  const box = useRef<HTMLPreElement>(null);
  const needle = find.toLowerCase();
  const shown = needle ? lines.filter((line) => line.toLowerCase().includes(needle)) : lines;
  useEffect(() => {
    if (following && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [shown.length, following]);
  const scrolled = () => {
    const element = box.current!;
    setFollowing(element.scrollHeight - element.scrollTop - element.clientHeight < 40);
  };
  return (
    <section class="card below log">
      <div class="log-head">
        <input class="field" type="search" placeholder="Find" aria-label="Only lines with this" value={find} onInput={(event) => change({ find: event.currentTarget.value })} />
        <span class="soft number">{`${find ? `${formatCount(shown.length)} of ` : ""}${earlier ? "the last " : ""}${pluralize(lines.length, "line")}`}</span>
        {!following && (
          <Button icon="down" onClick={() => setFollowing(true)}>
            To the end
          </Button>
        )}
        <code class="soft cut">{path}</code>
      </div>
      <Trouble text={trouble} />
      {lines.length ? (
        <pre ref={box} tabIndex={0} aria-label="Log" onScroll={scrolled}>
          {shown.map((line, index) => (
            <LogLine key={index} line={line} />
          ))}
        </pre>
      ) : (
        <Empty title="No lines">
          <p>{run.job.started_at === null ? "The job has not started." : "Its workers have written nothing."}</p>
        </Empty>
      )}
    </section>
  );
}

const STAMP = /^(\d{4}-\d\d-\d\d )(\d\d:\d\d:\d\d)(,\d+)? (INFO )?/;

/** A line whose moment is pale before its words; on a phone only the time of day is left of it. */
function LogLine({ line }: { line: string }) {
  const stamp = STAMP.exec(line);
  if (!stamp) return <>{`${line}\n`}</>;
  return (
    <>
      <span class="faint">
        <span class="day">{stamp[1]}</span>
        {stamp[2]}
      </span>
      {` ${line.slice(stamp[0].length)}\n`}
    </>
  );
}
