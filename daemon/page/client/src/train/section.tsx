/** A block of the form: the settings that are used most, and the others behind "more". */
import { useState } from "preact/hooks";
import { FieldInput } from "./field";
import { readSource } from "./document";
import { spec, text } from "./editing";
import type { Field } from "./schema";
import type { Placed } from "./sections";

export function SectionCard({ title, placed, orders }: { title: string; placed: Placed; orders: ReadonlyMap<string, readonly string[]> }) {
  const { first, more } = placed;
  const written = more.filter((field) => readSource(text.value, spec.value, field.path) !== null).length;
  const [openAtFirst] = useState(written > 0);
  if (!first.length && !more.length) return null;
  return (
    <section class="card block" aria-label={title}>
      <h2>{title}</h2>
      <Grid fields={first} orders={orders} />
      {more.length > 0 && (
        <details open={openAtFirst}>
          <summary>
            {more.length} more{written > 0 && `, ${written} of them set`}
          </summary>
          <Grid fields={more} orders={orders} />
        </details>
      )}
    </section>
  );
}

function Grid({ fields, orders }: { fields: readonly Field[]; orders: ReadonlyMap<string, readonly string[]> }) {
  return (
    <div class="settings">
      {fields.map((field) => (
        <FieldInput key={field.path.join(".")} field={field} order={orders.get(field.path.slice(0, -1).join(".")) ?? []} />
      ))}
    </div>
  );
}
