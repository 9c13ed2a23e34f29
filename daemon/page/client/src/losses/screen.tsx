/** Losses: what each says, its curve, its parameters, and which plugin it is from. */
import { useEffect } from "preact/hooks";
import { useRoute } from "preact-iso";
import { useSignal } from "@preact/signals";
import { Bones } from "../parts/bones";
import { CodeText } from "../parts/code_text";
import { Empty, Trouble } from "../parts/empty";
import { makeField } from "../train/schema";
import { Curve } from "./curve";
import type { LossInfo } from "../api/shapes";
import { loadLosses, losses, lossesTrouble } from "./store";

export function LossesScreen() {
  const { params } = useRoute();
  useEffect(() => void loadLosses(), []);
  const chosen = losses.value.find((each) => each.name === params.name) ?? losses.value[0];
  return (
    <div class="two-columns">
      <nav class="card loss-list" aria-label="Losses">
        {!losses.value.length && !lossesTrouble.value && <Bones count={10} shape="entry" />}
        {losses.value.map((each) => (
          <a key={each.name} href={`/losses/${encodeURIComponent(each.name)}`} aria-current={each === chosen ? "page" : undefined}>
            <strong>{each.name}</strong>
            <span class="soft">{each.purpose || each.summary}</span>
          </a>
        ))}
      </nav>
      <div>
        <h1 class="hidden-label">Losses</h1>
        <Trouble text={lossesTrouble.value} />
        {params.name && losses.value.length > 0 && params.name !== chosen?.name && (
          <Empty title={`No plugin brings a loss ${params.name}`}>
            <p>What is installed is listed here.</p>
          </Empty>
        )}
        {chosen && <LossPage key={chosen.name} loss={chosen} />}
      </div>
    </div>
  );
}

function LossPage({ loss }: { loss: LossInfo }) {
  const values = useSignal<Record<string, string>>({});
  const fields = Object.entries(loss.params).map(([name, node]) => makeField({}, node, [name]));
  const [, ...paragraphs] = loss.doc.split("\n\n").map((each) => each.replaceAll("\n", " "));
  return (
    <article class="card block">
      <header class="loss-head">
        <h2 class="mono">{loss.name}</h2>
        <span class="tag">{loss.needs_reference ? "compares with the reference" : "no reference"}</span>
        <span class="tag">{loss.plugin}</span>
        <a class="button primary" href={`/train?loss=${encodeURIComponent(loss.name)}`}>
          Train with it
        </a>
      </header>
      <div class="loss-block">
        <Curve loss={loss} params={values.value} />
        <div class="scrolls">
          <table class="table">
            <caption class="hidden-label">Parameters of {loss.name}</caption>
            <thead>
              <tr>
                <th scope="col">parameter</th>
                <th scope="col">default</th>
                <th scope="col">range</th>
                <th scope="col">try</th>
              </tr>
            </thead>
            <tbody>
              {fields.map((field) => (
                <tr key={field.name}>
                  <th scope="row">
                    <span class="mono">{field.name}</span>
                    <span class="meaning">{field.text}</span>
                  </th>
                  <td class="number">{String(field.preset)}</td>
                  <td class="number soft">{field.range || (field.kind === "flag" ? "true or false" : "any")}</td>
                  <td>
                    <input
                      class="field try"
                      inputMode="decimal"
                      aria-label={`${field.name} of the curve`}
                      placeholder={String(field.preset)}
                      value={values.value[field.name] ?? ""}
                      onInput={(event) => (values.value = setValue(values.value, field.name, event.currentTarget.value))}
                    />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
          {!fields.length && <p class="soft">It has no parameters.</p>}
        </div>
      </div>
      {paragraphs.map((paragraph) => (
        <p key={paragraph} class="prose">
          <CodeText text={paragraph} />
        </p>
      ))}
    </article>
  );
}

function setValue(values: Readonly<Record<string, string>>, name: string, typed: string): Record<string, string> {
  const { [name]: _, ...others } = values;
  return typed.trim() ? { ...others, [name]: typed.trim() } : others;
}
