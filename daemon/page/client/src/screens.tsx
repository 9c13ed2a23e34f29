/** The screens: name, address and component. A new screen is one line here and a folder beside it. */
import { lazy } from "preact-iso";
import type { ComponentType } from "preact";
import { JobsScreen } from "./jobs/screen";

export interface Screen {
  /** Its name in the bars; without one it is reached from another screen. */
  name?: string;
  /** Its address; parameters as `:id`, optional ones as `:tab?`. */
  path: string;
  component: ComponentType;
  /** The second of the two keys that lead to it, behind `g`. */
  key?: string;
}

/** Screens whose code comes when they are opened: the first load stays small, and the chart library is not of it. */
const RunScreen = lazy(async () => (await import("./run/screen")).RunScreen);
const TrainScreen = lazy(() => import("./train/screen"));
const CompareScreen = lazy(async () => (await import("./compare/screen")).CompareScreen);
const CacheScreen = lazy(async () => (await import("./cache/screen")).CacheScreen);
const LossesScreen = lazy(async () => (await import("./losses/screen")).LossesScreen);
const HealthScreen = lazy(async () => (await import("./health/screen")).HealthScreen);

export const SCREENS: readonly Screen[] = [
  { name: "Jobs", path: "/", component: JobsScreen, key: "j" },
  { name: "Train", path: "/train", component: TrainScreen, key: "n" },
  { name: "Compare", path: "/compare", component: CompareScreen, key: "c" },
  { name: "Cache", path: "/cache/:fingerprint?", component: CacheScreen, key: "r" },
  { name: "Losses", path: "/losses/:name?", component: LossesScreen, key: "l" },
  { name: "Daemon", path: "/daemon", component: HealthScreen, key: "d" },
  { path: "/jobs/:id/:tab?", component: RunScreen },
];
