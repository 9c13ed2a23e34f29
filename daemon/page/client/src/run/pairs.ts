/** The pairs that a policy still gets wrong, as the server measured them: asked for a page at a time. */
import { useEffect, useState } from "preact/hooks";
import { ApiError, explain, get, post } from "../api/client";

export interface Pair {
  row: number;
  held_out: boolean;
  margin: number | null;
  loss: number | null;
  logps: { chosen: number; rejected: number };
  ref: { chosen: number; rejected: number } | null;
  prompt: string;
  chosen_text: string;
  rejected_text: string;
  tokens: { prompt: number; chosen: number; rejected: number };
}

export interface Histogram {
  from: number;
  width: number;
  counts: number[];
}

export interface Pairs {
  scored_at_step: number | null;
  total: number;
  wrong: number;
  histogram: Histogram;
  pairs: Pair[];
}

interface PairsState {
  pairs: Pairs | null;
  /** Whether the pairs have not been measured, or are being measured now. */
  unmeasured: boolean;
  measuring: boolean;
  trouble: string;
  measure: () => void;
}

const EVERY = 1_500;

export function usePairs(job: number, only: string, order: string, limit: number): PairsState {
  const [pairs, setPairs] = useState<Pairs | null>(null);
  const [unmeasured, setUnmeasured] = useState(false);
  const [measuring, setMeasuring] = useState(false);
  const [trouble, setTrouble] = useState("");

  useEffect(() => {
    const abort = new AbortController();
    const ask = async () => {
      try {
        setPairs(await get<Pairs>(`/v1/jobs/${job}/pairs`, { only: only || null, order, limit }, abort.signal));
        setUnmeasured(false);
        setMeasuring(false);
        setTrouble("");
      } catch (error) {
        if (abort.signal.aborted) return;
        const missing = error instanceof ApiError && error.status === 404;
        setUnmeasured(missing);
        if (!missing) {
          setMeasuring(false);
          setTrouble(explain(error));
        }
      }
    };
    void ask();
    const timer = measuring ? setInterval(() => void ask(), EVERY) : undefined;
    return () => {
      abort.abort();
      clearInterval(timer);
    };
  }, [job, only, order, limit, measuring]);

  const measure = () => {
    setTrouble("");
    post(`/v1/jobs/${job}/pairs`).then(
      () => setMeasuring(true),
      (error: unknown) => setTrouble(explain(error)),
    );
  };
  return { pairs, unmeasured, measuring, trouble, measure };
}
