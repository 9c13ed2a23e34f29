/** One run, by its number in the address: numbers, charts, pairs, samples, data, spec, log and history. */
import { useRoute } from "preact-iso";
import { useEffect, useMemo } from "preact/hooks";
import { readNumber, useAddress } from "../address";
import type { JobDocument, Series } from "../api/shapes";
import type { View } from "../charts/zoom";
import { Bones } from "../parts/bones";
import { Empty, Trouble } from "../parts/empty";
import { RUNNING } from "../parts/state";
import { Tabs } from "../parts/tabs";
import { useKeys } from "../shell/keys";
import { followRun, type Newest } from "../stores/run";
import { followSeries } from "../stores/series";
import { ChartsTab, ChartTools } from "./charts_tab";
import { DataTab } from "./data_tab";
import { RunHead } from "./head";
import { HistoryTab } from "./history_tab";
import { LogTab } from "./log_tab";
import { PairsTab } from "./pairs_tab";
import { SamplesTab } from "./samples_tab";
import { isClients } from "./spec";
import { SpecTab } from "./spec_tab";
import { listTabs, readTab, type TabName } from "./tabs";
import { Tiles } from "./tiles";
import { Warnings } from "./warnings";

const POINTS = 800;

export function RunScreen() {
  const { params } = useRoute();
  const { query, go } = useAddress();
  const id = Number(params["id"]);
  const [from, to] = [readNumber(query["from"]), readNumber(query["to"])];
  const run = useMemo(() => followRun(id), [id]);
  const tabs = listTabs(isClients(run.document.value?.spec ?? null));
  const tab = readTab(params["tab"], tabs);
  const curves = useMemo(() => followSeries(id, POINTS, { from, to }), [id]);
  useEffect(() => run.end, [run]);
  useEffect(() => curves.end, [curves]);
  useEffect(() => curves.zoom({ from, to }), [curves, from, to]);
  useEffect(() => {
    const name = run.document.value?.job.name;
    document.title = name ? `${name} · prefd` : "prefd";
    return () => void (document.title = "prefd");
  }, [run.document.value?.job.name]);
  useKeys("Run", [
    ...tabs.map((name, index) => ({ keys: String(index + 1), text: name, act: () => go(linkToTab(id, name, query)) })),
    { keys: "u", text: "back to the jobs", act: () => go("/") },
  ]);

  const known = run.document.value;
  if (run.missing.value) return <NoJob id={id} />;
  if (!known) return run.trouble.value ? <Trouble text={run.trouble.value} /> : <RunToCome />;
  return (
    <>
      <RunHead run={known} />
      <Trouble text={run.trouble.value || curves.trouble.value} />
      {hasNumbers(known, run.newest.value) && <Tiles run={known} newest={run.newest.value} />}
      <Warnings run={known} />
      <Tabs label="Of this run" tabs={tabs.map((name) => ({ name, href: linkToTab(id, name, query) }))} current={tab}>
        {tab === "charts" && <ChartTools series={curves.series.value} whole={curves.whole.value} />}
      </Tabs>
      <Tab tab={tab} run={known} series={curves.series.value} whole={curves.whole.value} />
    </>
  );
}

/** Whether there is a number to show, or will be one soon. */
function hasNumbers({ job, precompute }: JobDocument, newest: Newest): boolean {
  return RUNNING.includes(job.state) || newest.train !== null || newest.held !== null || (precompute?.ok ?? false);
}

function Tab({ tab, run, series, whole }: { tab: TabName; run: JobDocument; series: Series | null; whole: View | null }) {
  switch (tab) {
    case "charts":
      return <ChartsTab run={run} series={series} whole={whole} />;
    case "pairs":
      return <PairsTab run={run} />;
    case "samples":
      return <SamplesTab run={run} />;
    case "data":
      return <DataTab run={run} />;
    case "spec":
      return <SpecTab run={run} />;
    case "log":
      return <LogTab run={run} />;
    case "history":
      return <HistoryTab run={run} />;
  }
}

/** The address of a tab; smoothing and zoom go along. */
function linkToTab(id: number, tab: TabName, query: Readonly<Record<string, string>>): string {
  const kept = ["smooth", "from", "to"].filter((name) => query[name] !== undefined).map((name) => [name, query[name]!]);
  const text = new URLSearchParams(kept).toString();
  return `/jobs/${id}/${tab}${text && `?${text}`}`;
}

function RunToCome() {
  return (
    <>
      <Bones shape="head" />
      <Bones count={7} shape="tile" box="tiles" />
      <Bones count={6} shape="chart" box="charts" />
    </>
  );
}

function NoJob({ id }: { id: number }) {
  return (
    <div class="card">
      <Empty title={`There is no job ${id}`}>
        <p>It was removed, or it is of another home.</p>
        <p class="empty-action">
          <a class="button" href="/">
            To the jobs
          </a>
        </p>
      </Empty>
    </div>
  );
}
