/** Reads a job's log: its end first, then what is written after it, while the job runs and the tab is seen. */
import { useEffect, useState } from "preact/hooks";
import { explain, get } from "../api/client";
import type { Log } from "../api/shapes";

interface LogState {
  lines: readonly string[];
  path: string;
  /** Whether the file has lines before these. */
  earlier: boolean;
  trouble: string;
}

const LAST = 5_000;
const MOST = 2 * LAST;
const EVERY = 1_000;

export function useLog(job: number, runs: boolean): LogState {
  const [state, setState] = useState<LogState>({ lines: [], path: "", earlier: false, trouble: "" });
  useEffect(() => {
    const abort = new AbortController();
    let next: number | null = null;
    let asking = false;

    const ask = async () => {
      if (asking || (next !== null && document.hidden)) return;
      asking = true;
      try {
        const answer = await get<Log>(`/v1/jobs/${job}/log`, next === null ? { last: LAST } : { after: next }, abort.signal);
        const goesOn = next !== null;
        next = answer.next;
        setState((known) => {
          const lines = goesOn ? [...known.lines, ...answer.lines] : answer.lines;
          const earlier = answer.earlier || (goesOn && known.earlier) || lines.length > MOST;
          return { lines: lines.slice(-MOST), path: answer.log, earlier, trouble: "" };
        });
      } catch (error) {
        if (!abort.signal.aborted) setState((known) => ({ ...known, trouble: explain(error) }));
      } finally {
        asking = false;
      }
    };
    void ask();
    const timer = runs ? setInterval(() => void ask(), EVERY) : undefined;
    return () => {
      abort.abort();
      clearInterval(timer);
    };
  }, [job, runs]);
  return state;
}
