/** The tabs of a run, in their order; the digits from 1 on open them. */
export const TABS = ["charts", "pairs", "samples", "data", "spec", "log", "history"] as const;

export type TabName = (typeof TABS)[number];

/** Of a client's model: it has no rows of a file, and so no pairs to score and no prompts to answer. */
const OF_CLIENT: readonly TabName[] = ["charts", "spec", "log", "history"];

export function listTabs(ofClient: boolean): readonly TabName[] {
  return ofClient ? OF_CLIENT : TABS;
}

export function readTab(text: string | undefined, tabs: readonly TabName[]): TabName {
  return tabs.find((each) => each === text) ?? "charts";
}
