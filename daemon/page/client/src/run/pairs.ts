/** The pairs of a run under the policy that it has trained, a page at a time, and how their scoring stands. */
import { useEffect, useState } from "preact/hooks";
import { ApiError, explain, get, post, type Query } from "../api/client";
import type { PairsPage, ScoredPair } from "../api/shapes";

export interface PairsChoice {
  order: string;
  wrong: boolean;
  heldOut: boolean;
}

interface Pairs {
  page: PairsPage | null;
  pairs: readonly ScoredPair[];
  trouble: string;
  /** Has each pair scored, by the daemon in its turn. */
  score: () => void;
  loadMore: () => void;
}

const LIMIT = 100;
const EVERY = 1_000;

export function usePairs(job: number, choice: PairsChoice): Pairs {
  const [page, setPage] = useState<PairsPage | null>(null);
  const [pairs, setPairs] = useState<readonly ScoredPair[]>([]);
  const [trouble, setTrouble] = useState("");
  const [asked, setAsked] = useState(0);
  const question = { order: choice.order, only: [choice.wrong && "wrong", choice.heldOut && "held_out"].filter((each) => each !== false) };
  const path = `/v1/jobs/${job}/pairs`;

  const ask = async (query: Query, abort?: AbortSignal): Promise<PairsPage | null> => {
    try {
      const answer = await get<PairsPage>(path, { ...question, limit: LIMIT, ...query }, abort);
      setTrouble("");
      return answer;
    } catch (error) {
      if (!abort?.aborted) setTrouble(error instanceof ApiError && error.status === 404 ? "" : explain(error));
      return null;
    }
  };

  const waits = page?.state === "waiting" || page?.state === "scoring";
  useEffect(() => {
    const abort = new AbortController();
    const refresh = async () => {
      const answer = await ask({}, abort.signal);
      if (!answer || abort.signal.aborted) return;
      setPage(answer);
      setPairs(answer.pairs ?? []);
    };
    void refresh();
    const timer = waits ? setInterval(() => !document.hidden && void refresh(), EVERY) : undefined;
    return () => {
      abort.abort();
      clearInterval(timer);
    };
  }, [path, question.order, question.only.join(), asked, waits]);

  return {
    page,
    pairs,
    trouble,
    score: () => {
      post(path).then(
        () => setAsked(asked + 1),
        (error: unknown) => setTrouble(explain(error)),
      );
    },
    loadMore: () => {
      void ask({ offset: pairs.length }).then((answer) => answer && setPairs([...pairs, ...(answer.pairs ?? [])]));
    },
  };
}
