/** The Preference block: which loss, its curve, its parameters, and the reference that it compares with. */
import { useState } from "preact/hooks";
import { isMap, isSeq } from "yaml";
import { Curve } from "../losses/curve";
import type { LossInfo } from "../api/shapes";
import { losses } from "../losses/store";
import { readSource, removeKey, setSource } from "./document";
import { setText, spec, text } from "./editing";
import { FieldInput } from "./field";
import { makeField, type Field, type Path, type Schema } from "./schema";

const PRESET = "sigmoid";

export function Preference({ schema, reference }: { schema: Schema; reference: readonly Field[] }) {
  const node = spec.value.getIn(["loss"], true);
  const paths: Path[] = isSeq(node) ? node.items.map((_, index) => ["loss", index]) : [["loss"]];
  const chosen = paths.map((path) => readSource(text.value, spec.value, [...path, "name"]) ?? PRESET);
  const isMixture = isSeq(node);
  const needsReference = losses.value.some((each) => chosen.includes(each.name) && each.needs_reference);
  return (
    <section class="card block" aria-label="Preference">
      <h2>Preference</h2>
      <div class="losses" role="group" aria-label="Loss">
        {losses.value.map((each) => (
          <button key={each.name} type="button" class="loss-card" aria-pressed={chosen.includes(each.name)} disabled={isMixture} title={each.summary} onClick={() => chooseLoss(each)}>
            <strong>{each.name}</strong>
            <span>{each.purpose || each.summary}</span>
          </button>
        ))}
      </div>
      {isMixture && <p class="soft">The spec mixes {paths.length} losses. Which ones is said in the text; their parameters are here too.</p>}
      {paths.map((path, index) => (
        <LossBlock key={path.join(".")} schema={schema} loss={losses.value.find((each) => each.name === chosen[index])} path={path} />
      ))}
      <Reference fields={reference} needed={needsReference || !losses.value.length} />
    </section>
  );
}

/** What the policy is compared with: mostly a frozen copy of its start, and then there is nothing to fill in. */
function Reference({ fields, needed }: { fields: readonly Field[]; needed: boolean }) {
  const isSet = fields.some((field) => readSource(text.value, spec.value, field.path) !== null);
  const [openAtFirst] = useState(isSet);
  if (!needed && !isSet) return <p class="soft">This loss takes no reference: nothing is scored before training.</p>;
  return (
    <details class="reference-settings" open={openAtFirst}>
      <summary>
        <span class="setting-name">reference</span> {isSet ? "another model than where the policy starts" : "a frozen copy of where the policy starts, scored once"}
      </summary>
      <div class="settings">
        {fields.map((field) => (
          <FieldInput key={field.path.join(".")} field={field} order={["model", "adapter"]} />
        ))}
      </div>
    </details>
  );
}

function LossBlock({ schema, loss, path }: { schema: Schema; loss: LossInfo | undefined; path: Path }) {
  if (!loss) return null;
  const params = Object.entries(loss.params).map(([name, node]) => makeField(schema, node, [...path, name]));
  const order = ["name", ...Object.keys(loss.params)];
  return (
    <div class="loss-block">
      <Curve loss={loss} params={readParams(params)} />
      <div>
        <div class="settings">
          {params.map((field) => (
            <FieldInput key={field.path.join(".")} field={field} order={order} slider={field.kind === "number"} />
          ))}
        </div>
        <p class="setting-text">{loss.doc.split("\n\n")[1] ?? ""}</p>
      </div>
    </div>
  );
}

/** Takes another loss: a parameter that it has too stays, the others go, as they would be faults. */
export function chooseLoss(loss: LossInfo): void {
  let next = text.peek();
  const node = spec.peek().getIn(["loss"], true);
  const keys = isMap(node) ? node.items.map((pair) => String(pair.key)) : [];
  next = setSource(next, ["loss", "name"], loss.name);
  for (const key of keys) {
    if (key !== "name" && !(key in loss.params)) next = removeKey(next, ["loss", key]);
  }
  setText(next);
}

function readParams(params: readonly Field[]): Record<string, string> {
  const found: Record<string, string> = {};
  for (const field of params) {
    const written = readSource(text.value, spec.value, field.path);
    if (written !== null) found[String(field.path.at(-1))] = written;
  }
  return found;
}
