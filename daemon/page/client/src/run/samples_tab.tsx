/** What the policy answered to the same prompts while it trained, each answer beside that of its start. */
import { useAddress, readNumber } from "../address";
import type { DrawnAnswer, DrawnSample, JobDocument, SamplesPage } from "../api/shapes";
import { Chips } from "../parts/chips";
import { Empty, Trouble } from "../parts/empty";
import { RUNNING } from "../parts/state";
import { TokensText } from "../parts/tokens_text";
import { useAnswer } from "../stores/answer";
import { now } from "../stores/clock";
import { formatCount, pluralize } from "../text/numbers";
import { formatDuration } from "../text/times";

const EVERY_S = 5;
const ENDINGS: Readonly<Record<DrawnAnswer["ended"], string>> = { stop: "", length: "cut at max_tokens", time: "cut for time" };

export function SamplesTab({ run }: { run: JobDocument }) {
  const { query, change } = useAddress();
  const { id, state } = run.job;
  const version = RUNNING.includes(state) ? Math.floor(now.value / EVERY_S) : state;
  const path = `/v1/jobs/${id}/samples`;
  const { value: first, trouble } = useAnswer<SamplesPage>(`${path}?step=0`, version);
  const steps = first?.steps ?? [];
  const chosen = readNumber(query["step"]);
  const step = chosen !== null && steps.includes(chosen) ? chosen : steps.at(-1);
  const { value: later, trouble: other } = useAnswer<SamplesPage>(step ? `${path}?step=${step}` : "", version);
  const page = step ? later : first;
  if (first && !steps.length)
    return (
      <div class="card below">
        <Empty title="No answers were drawn">
          <p>{run.spec?.["eval_samples"] ? "The first are drawn when training begins." : "The policy answers prompts while it trains where the spec says so:"}</p>
          {!run.spec?.["eval_samples"] && <code>{"eval_samples: {prompts: 4}"}</code>}
        </Empty>
      </div>
    );
  return (
    <div class="below">
      <Trouble text={trouble || other} />
      {steps.length > 0 && (
        <div class="sample-steps">
          <span class="soft">after step</span>
          <Chips label="After which step" options={steps.map((each) => ({ value: String(each), text: each ? formatCount(each) : "start" }))} value={String(step)} onChange={(value) => change({ step: value })} />
        </div>
      )}
      {!page && !trouble && !other && <p class="soft">The answers are being read.</p>}
      {page?.samples.map((sample) => (
        <SampleCard key={sample.number} sample={sample} />
      ))}
    </div>
  );
}

function SampleCard({ sample }: { sample: DrawnSample }) {
  return (
    <section class="card sample">
      <h2>
        Prompt {sample.number} <span class="soft number">{sample.place}</span>
      </h2>
      <p class="prose sample-prompt">
        <TokensText text={sample.prompt} />
      </p>
      <div class={sample.step ? "sample-sides" : ""}>
        {sample.step > 0 && <Answer title="Start" answer={sample.start ?? null} fault="could not be drawn" />}
        <Answer title={sample.step ? `After step ${formatCount(sample.step)}` : "Start"} answer={sample.answer ?? null} fault={`could not be drawn: ${sample.fault}`} seconds={sample.seconds} tone={sample.step ? "chosen" : ""} />
      </div>
    </section>
  );
}

interface AnswerProps {
  title: string;
  answer: DrawnAnswer | null;
  fault: string;
  seconds?: number;
  tone?: string;
}

function Answer({ title, answer, fault, seconds, tone = "" }: AnswerProps) {
  const notes = answer ? [pluralize(answer.tokens, "token"), ENDINGS[answer.ended], seconds && formatDuration(seconds)] : [];
  return (
    <section class={`pair-side ${tone}`}>
      <h3>
        {title} <span class="soft number">{notes.filter(Boolean).join(" · ")}</span>
      </h3>
      {answer ? (
        <p class="prose">{answer.text ? <TokensText text={answer.text} /> : <span class="soft">nothing</span>}</p>
      ) : (
        <p class="amber">{fault}</p>
      )}
    </section>
  );
}
