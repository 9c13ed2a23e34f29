/** Changes the spec of a job that waits, as YAML. What is wrong with it is told before anything is changed. */
import { useEffect, useState } from "preact/hooks";
import { explain, get, post } from "../api/client";
import type { ClaimedSpec, JobDocument } from "../api/shapes";
import { Button } from "../parts/button";
import { Dialog } from "../parts/dialog";
import { Trouble } from "../parts/empty";
import { tell } from "../parts/toast";
import { tidySpec } from "./spec";

interface EditProps {
  run: JobDocument;
  onClose: () => void;
}

export function EditDialog({ run, onClose }: EditProps) {
  const [text, setText] = useState<string | null>(null); // null until it is there: nothing is written before, and overwritten
  const [trouble, setTrouble] = useState("");
  const [base] = useState(run.spec); // as it was when the dialog was opened: the server refuses an edit of another
  useEffect(() => {
    const claimed = get<ClaimedSpec>(`/v1/jobs/${run.job.id}/spec`).then(
      ({ spec }) => spec ?? base, // what was set, without the defaults
      () => base,
    );
    void Promise.all([import("yaml"), claimed]).then(([{ stringify }, spec]) => setText(stringify(tidySpec(spec))));
  }, [base]);

  const save = async () => {
    try {
      const { parse } = await import("yaml");
      const spec: unknown = parse(text ?? "");
      if (spec === null || typeof spec !== "object" || Array.isArray(spec)) throw new Error("a spec is `key: value` lines");
      await post(`/v1/jobs/${run.job.id}/edit`, { spec, base });
      tell(`${run.job.name} is changed`);
      onClose();
    } catch (error) {
      setTrouble(explain(error));
    }
  };

  const feet = (
    <>
      <Button onClick={onClose}>Leave it</Button>
      <Button tone="primary" onClick={() => void save()} disabled={!text}>
        Change the job
      </Button>
    </>
  );
  return (
    <Dialog title={`Edit ${run.job.name} (#${run.job.id})`} feet={feet} wide onClose={onClose}>
      <Trouble text={trouble} />
      <label class="hidden-label" for="edited-spec">
        The spec, as YAML
      </label>
      <textarea id="edited-spec" spellcheck={false} disabled={text === null} value={text ?? ""} onInput={(event) => setText(event.currentTarget.value)} />
    </Dialog>
  );
}
