/** The answer to one question, asked again when the question changes; what is known stays until the newer answer is there. */
import { useEffect, useState } from "preact/hooks";
import { explain, get } from "../api/client";

export interface Answer<T> {
  value: T | null;
  trouble: string;
}

/** Asks for `path`; once more when `version` is another. An empty path asks nothing. */
export function useAnswer<T>(path: string, version: unknown = null): Answer<T> {
  const [answer, setAnswer] = useState<Answer<T> & { path: string }>({ value: null, trouble: "", path });
  useEffect(() => {
    if (!path) return;
    const abort = new AbortController();
    get<T>(path, {}, abort.signal).then(
      (value) => setAnswer({ value, trouble: "", path }),
      (error: unknown) => !abort.signal.aborted && setAnswer((known) => ({ value: known.path === path ? known.value : null, trouble: explain(error), path })),
    );
    return () => abort.abort();
  }, [path, version]);
  return answer.path === path ? answer : { value: null, trouble: answer.trouble };
}
