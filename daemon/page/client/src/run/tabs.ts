/** The tabs of a run, in their order; the digits 1 to 7 open them. */
export const TABS = ["charts", "pairs", "samples", "data", "spec", "log", "history"] as const;

export type TabName = (typeof TABS)[number];

export function readTab(text: string | undefined): TabName {
  return TABS.find((each) => each === text) ?? "charts";
}
