/** The tabs of a run, in their order; the digits 1 to 6 open them. */
export const TABS = ["charts", "pairs", "data", "spec", "log", "history"] as const;

export type TabName = (typeof TABS)[number];

export function readTab(text: string | undefined): TabName {
  return TABS.find((each) => each === text) ?? "charts";
}
