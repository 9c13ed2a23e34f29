/** Reads of a frozen spec what the head of a run tells: its loss, its parameters, its model. */
import type { JobDocument, LossPart } from "../api/shapes";

type Spec = JobDocument["spec"];

/** Whether it is a model that a client of `prefd serve` holds: the loss is the client's, and no spec can ask for the same again. */
export function isClients(spec: Spec): boolean {
  return Boolean(spec?.["live"]);
}

/** The loss, or each of a mixture with its weight. */
export function readLosses(spec: Spec): LossPart[] {
  const loss = spec?.["loss"];
  if (!loss || isClients(spec)) return [];
  return (Array.isArray(loss) ? loss : [loss]).map((each: Record<string, unknown> | string) => {
    if (typeof each === "string") return { name: each, weight: 1, params: {} };
    const { name, weight, ...params } = each;
    return { name: String(name), weight: typeof weight === "number" ? weight : 1, params };
  });
}

export function readModel(spec: Spec): string {
  return typeof spec?.["model"] === "string" ? spec["model"] : "";
}

/** How many processes train together; 1 where the spec says nothing of it. */
export function readRanks(spec: Spec): number | "all" {
  const ranks = spec?.["ranks"];
  return typeof ranks === "number" || ranks === "all" ? ranks : 1;
}

/** The spec without what says nothing: null, and blocks in which nothing else is. */
export function tidySpec(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(tidySpec);
  if (value === null || typeof value !== "object") return value;
  const entries = Object.entries(value).map(([key, each]) => [key, tidySpec(each)] as const);
  return Object.fromEntries(entries.filter(([, each]) => each !== null && each !== "" && !isEmpty(each)));
}

function isEmpty(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}
