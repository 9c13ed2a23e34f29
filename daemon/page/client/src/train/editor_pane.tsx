/** The editor's place: its code comes when it is first shown, and until then the text stands there to read. */
import { useEffect, useState } from "preact/hooks";
import type { ComponentType } from "preact";
import { explain } from "../api/client";
import { Trouble } from "../parts/empty";
import { text } from "./editing";
import type { Field } from "./schema";

type Editor = ComponentType<{ fields: readonly Field[] }>;

let loaded: Editor | null = null;

export function EditorPane({ fields }: { fields: readonly Field[] }) {
  const [component, setComponent] = useState<{ of: Editor } | null>(loaded && { of: loaded });
  const [trouble, setTrouble] = useState("");
  useEffect(() => {
    if (component) return;
    import("./editor").then(
      (found) => setComponent({ of: (loaded = found.default) }),
      (error: unknown) => setTrouble(`The editor could not be loaded: ${explain(error)}`),
    );
  }, [component]);
  if (component) return <component.of fields={fields} />;
  return (
    <>
      <Trouble text={trouble} />
      <pre class="editor waiting">{text.value}</pre>
    </>
  );
}
