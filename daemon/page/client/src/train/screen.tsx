/** Train: the form, the text, what it would take, and the rows. The form and the text are one. */
import { useEffect, useMemo } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { useAddress } from "../address";
import { explain, get, postText } from "../api/client";
import type { ClaimedSpec, Job } from "../api/shapes";
import { loadLosses, losses, lossesTrouble } from "../losses/store";
import { Bones } from "../parts/bones";
import { Button } from "../parts/button";
import { confirm } from "../parts/confirm";
import { Trouble } from "../parts/empty";
import { Tabs } from "../parts/tabs";
import { tell, tellError } from "../parts/toast";
import { useKeys } from "../shell/keys";
import { formatCount } from "../text/numbers";
import { isEditable, parse, readSource, toYaml } from "./document";
import { EditorPane } from "./editor_pane";
import { setText, spec, START, text } from "./editing";
import { suggestName } from "./job_name";
import { lineAsked } from "./line";
import { chooseLoss, Preference } from "./preference";
import { Rows } from "./rows";
import { leaveOutPresets, listFields, type Field } from "./schema";
import { loadSchema, schema, schemaTrouble } from "./schema_store";
import { SectionCard } from "./section";
import { placeFields } from "./sections";
import { Verdict } from "./verdict";
import { keepAsking, rows, valid } from "./verdict_store";

const OWN_FORM = ["loss"];
/** What has a setting for each setting of a spec is written as one. */
const WHOLE = ["sweep"];

export default function TrainScreen() {
  const { query, change, go } = useAddress();
  const queueing = useSignal(false);
  const tab = query.tab === "rows" ? "rows" : "spec";
  const fields = useMemo(() => (schema.value ? listFields(schema.value, OWN_FORM, WHOLE) : []), [schema.value]);
  const reference = useMemo(() => fields.filter((field) => field.path[0] === "reference").map(asReference), [fields]);
  const placed = useMemo(() => placeFields(fields.filter((field) => field.path[0] !== "reference")), [fields]);
  const orders = useMemo(() => listOrders(schema.value?.properties ? Object.keys(schema.value.properties) : [], fields.map((field) => field.path.map(String))), [fields]);

  useEffect(() => {
    void loadLosses();
    void loadSchema();
    return keepAsking();
  }, []);
  useEffect(() => {
    if (!query.from || !fields.length) return;
    void loadJob(query.from, fields).finally(() => change({ from: null }));
  }, [query.from, fields]);

  useEffect(() => {
    const wanted = losses.value.find((each) => each.name === query.loss);
    if (!wanted) return;
    chooseLoss(wanted);
    change({ loss: null });
  }, [query.loss, losses.value]);

  const queue = async () => {
    if (!valid.peek() || queueing.peek()) return;
    queueing.value = true;
    try {
      const name = readSource(text.peek(), spec.peek(), ["name"])?.replaceAll("/", "-") || suggestName(text.peek(), spec.peek());
      const { jobs } = await postText<{ jobs: Job[] }>("/v1/jobs", text.peek(), "application/yaml", { name });
      const [job] = jobs;
      tell(jobs.length > 1 ? `Queued ${jobs.length} jobs` : `Queued job ${job?.id}`);
      go(job && jobs.length === 1 ? `/jobs/${job.id}` : "/");
    } catch (error) {
      tellError(error);
    } finally {
      queueing.value = false;
    }
  };
  useEffect(() => {
    const listen = (event: KeyboardEvent) => event.key === "Enter" && (event.metaKey || event.ctrlKey) && void queue();
    addEventListener("keydown", listen);
    return () => removeEventListener("keydown", listen);
  }, []);
  useKeys("Train", [
    { keys: "1", text: "the spec", act: () => change({ tab: null }) },
    { keys: "2", text: "the rows", act: () => change({ tab: "rows" }) },
  ]);

  return (
    <div class="train">
      <header class="train-head">
        <h1>Train</h1>
        <p class="soft">The form and the text are one: what you write in either is in both.</p>
        {text.value !== START && (
          <Button tone="plain" onClick={() => void startOver()}>
            Start over
          </Button>
        )}
      </header>
      <div class="form">
        <Trouble text={schemaTrouble.value || lossesTrouble.value} />
        {!isEditable(spec.value) ? (
          <div class="notice">The form is back when the text can be read as YAML again.</div>
        ) : (
          schema.value ? (
            <>
              <Preference schema={schema.value} reference={reference} />
              {[...placed].map(([section, place]) => (
                <SectionCard key={section.title} title={section.title} placed={place} orders={orders} />
              ))}
            </>
          ) : (
            !schemaTrouble.value && <Bones count={3} shape="panel" />
          )
        )}
      </div>
      <div class="beside">
        <Verdict queueing={queueing.value} onQueue={() => void queue()} onCopy={() => void copy()} onLine={(line) => showLine(line, () => change({ tab: null }))} />
        <Tabs
          label="The spec and its rows"
          current={tab}
          tabs={[
            { name: "spec", href: "/train" },
            { name: "rows", href: "/train?tab=rows", note: countRows() },
          ]}
        />
        {tab === "rows" ? <Rows /> : <EditorPane fields={fields} />}
      </div>
    </div>
  );
}

/** Without a reference of its own, a job compares with a frozen copy of where its policy starts. */
function asReference(field: Field): Field {
  const examples: Record<string, string> = { model: "a frozen copy of the start", adapter: "none", window: "as many as fit" };
  return { ...field, group: null, example: examples[String(field.path.at(-1))] ?? field.example };
}

function countRows(): string {
  const total = rows.value?.value?.total;
  return total === undefined ? "" : formatCount(total);
}

/** Loads the spec of a job to start from; asks first where that would replace something written here. */
async function loadJob(id: string, fields: readonly Field[]): Promise<void> {
  try {
    const found = await get<ClaimedSpec>(`/v1/jobs/${encodeURIComponent(id)}/spec`);
    const wanted = toYaml(isOneJob(found.text) ? found.text : JSON.stringify(leaveOutPresets(found.spec, fields)));
    const isDraft = text.peek() !== START && text.peek() !== wanted;
    if (isDraft && !(await confirm("Replace the spec that you are writing?", `The form holds another spec. Job ${id}'s would take its place.`, `Take job ${id}'s`))) return;
    setText(wanted);
  } catch (error) {
    tellError(error);
  }
}

/** Whether a file's text is the spec of one job: one of a sweep, or of several specs in a file, is started from by itself. */
function isOneJob(text: string | null): text is string {
  if (text === null) return false;
  const doc = parse(text);
  return isEditable(doc) && !doc.has("sweep");
}

async function startOver(): Promise<void> {
  if (await confirm("Start over?", "The spec that you are writing is replaced by an empty one.", "Start over")) setText(START);
}

async function copy(): Promise<void> {
  try {
    await navigator.clipboard.writeText(text.peek());
    tell("Copied. Save it as a .yaml file in the jobs folder, or give it to prefd submit.");
  } catch (error) {
    tellError(new Error(`The browser did not allow to copy: ${explain(error)}`));
  }
}

function showLine(line: number, showEditor: () => void): void {
  showEditor();
  lineAsked.value = line;
}

/** For each mapping, its keys in the schema's order: where a new one is written. */
function listOrders(top: readonly string[], paths: readonly string[][]): Map<string, string[]> {
  const orders = new Map<string, string[]>([["", [...top]]]);
  for (const path of paths) {
    for (let depth = 1; depth < path.length; depth++) {
      const parent = path.slice(0, depth).join(".");
      const keys = orders.get(parent) ?? [];
      const key = path[depth] ?? "";
      if (!keys.includes(key)) keys.push(key);
      orders.set(parent, keys);
    }
  }
  return orders;
}

