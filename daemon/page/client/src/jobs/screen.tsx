/** The jobs: what is it doing, how long yet, which was best, why did that one fail. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { useAddress } from "../address";
import { ENDED, RUNNING } from "../parts/state";
import { Button } from "../parts/button";
import { Bones } from "../parts/bones";
import { Chips } from "../parts/chips";
import { Trouble } from "../parts/empty";
import { useKeys } from "../shell/keys";
import { SCREENS } from "../screens";
import { jobs, keepJobs, known, loadMore, more, trouble } from "../stores/jobs";
import { status } from "../stores/status";
import { actOnQueue } from "./actions";
import { BulkBar } from "./bulk";
import { chooseJobs, CHOICES, countJobs, type Choice } from "./filter";
import { CleanDialog } from "./clean";
import { JobList } from "./list";
import { NoJobs, NoneFits } from "./none";
import { RunningCard } from "./running";

const MOST_CARDS = 4;

export function JobsScreen() {
  const { query, change, go } = useAddress();
  const [focused, setFocused] = useState<number | null>(null);
  const [cleaning, setCleaning] = useState(false);
  const search = useRef<HTMLInputElement>(null);
  useEffect(keepJobs, []);

  const choice = CHOICES.find((each) => each === query["state"]) ?? "all";
  const text = query["q"] ?? "";
  const shown = useMemo(() => chooseJobs(jobs.value, choice, text), [jobs.value, choice, text]);
  const selected = useMemo(() => new Set((query["sel"] ?? "").split(",").filter(Boolean).map(Number)), [query["sel"]]);
  const chosen = jobs.value.filter((job) => selected.has(job.id));
  const running = jobs.value.filter((job) => RUNNING.includes(job.state));

  const select = (id: number) => {
    const next = new Set(selected);
    if (!next.delete(id)) next.add(id);
    change({ sel: [...next].join(",") || null });
  };
  const move = (by: number) => {
    const index = shown.findIndex((job) => job.id === focused);
    const next = shown[Math.max(0, Math.min(shown.length - 1, index < 0 ? 0 : index + by))];
    if (next) setFocused(next.id);
  };
  useKeys("Jobs", [
    { keys: "j", text: "the next job", act: () => move(1) },
    { keys: "k", text: "the one before", act: () => move(-1) },
    { keys: "Enter", text: "open it", act: () => focused !== null && go(`/jobs/${focused}/charts`) },
    { keys: "x", text: "choose it", act: () => focused !== null && select(focused) },
    ...(SCREENS.some((each) => each.path.startsWith("/compare"))
      ? [{ keys: "c", text: "compare the chosen ones", act: () => chosen.length > 1 && go(`/compare?ids=${[...selected].join(",")}`) }]
      : []),
    { keys: "/", text: "filter", act: () => search.current?.focus() },
    ...(SCREENS.some((each) => each.path.startsWith("/train")) ? [{ keys: "n", text: "a new job", act: () => go("/train") }] : []),
  ]);

  if (known.value && !jobs.value.length) return <NoJobs />;
  return (
    <>
      <h1 class="hidden-label">Jobs</h1>
      <Trouble text={trouble.value} />
      {running.slice(0, MOST_CARDS).map((job) => (
        <RunningCard key={job.id} job={job} />
      ))}
      <div class="list-tools">
        <Chips label="State" options={listOptions()} value={choice} onChange={(value) => change({ state: value === "all" ? null : value })} />
        <input
          ref={search}
          class="field search"
          type="search"
          placeholder="Filter  /"
          aria-label="Filter by name, group, loss or reason"
          value={text}
          onInput={(event) => change({ q: event.currentTarget.value })}
          onKeyDown={(event) => event.key === "Escape" && event.currentTarget.blur()}
        />
        <QueueButton />
        {SCREENS.some((each) => each.path.startsWith("/train")) && (
          <Button tone="primary" onClick={() => go("/train")}>
            New job
          </Button>
        )}
      </div>
      {chosen.length > 0 && <BulkBar chosen={chosen} onClear={() => change({ sel: null })} />}
      {shown.length > 0 && <JobList jobs={shown} selected={selected} focused={focused} onSelect={select} onOpen={(id) => go(`/jobs/${id}/charts`)} />}
      {!known.value && !trouble.value && <Bones count={8} shape="job-line" box="card" />}
      {known.value && !shown.length && <NoneFits onClear={() => change({ state: null, q: null })} />}
      <p class="list-more">
        {more.value && <Button onClick={() => void loadMore()}>Older jobs</Button>}{" "}
        {jobs.value.some((job) => ENDED.includes(job.state)) && <Button onClick={() => setCleaning(true)}>Clean up</Button>}
      </p>
      {cleaning && <CleanDialog onClose={() => setCleaning(false)} />}
    </>
  );
}

function listOptions(): { value: Choice; text: string; count: number | undefined }[] {
  const counts = CHOICES.map((value) => ({ value, text: value, count: known.value ? countJobs(jobs.value, value) : undefined }));
  const open = more.value; // there are older ones than those that are counted here
  return counts.filter(({ value, count }) => value === "all" || count).map((each) => (open ? { ...each, count: undefined } : each));
}

function QueueButton() {
  const queue = status.value?.queue;
  if (!queue) return null;
  const paused = queue.paused_at !== null;
  return (
    <Button icon={paused ? "play" : "pause"} onClick={() => void actOnQueue(paused ? "resume" : "pause")}>
      {paused ? "Resume queue" : "Pause queue"}
    </Button>
  );
}
