/** A name and its value, in a list of such. */
import type { ComponentChildren } from "preact";

export function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <>
      <dt class="soft">{name}</dt>
      <dd class="mono">{children}</dd>
    </>
  );
}
