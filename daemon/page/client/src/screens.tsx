/** The screens: name, address and component. A new screen is one line here and a folder beside it. */
import type { ComponentType } from "preact";
import { JobsScreen } from "./jobs/screen";
import { RunScreen } from "./run/screen";

export interface Screen {
  /** Its name in the bars; without one it is reached from another screen. */
  name?: string;
  /** Its address; parameters as `:id`, optional ones as `:tab?`. */
  path: string;
  component: ComponentType;
  /** The second of the two keys that lead to it, behind `g`. */
  key?: string;
}

export const SCREENS: readonly Screen[] = [
  { name: "Jobs", path: "/", component: JobsScreen, key: "j" },
  { path: "/jobs/:id/:tab?", component: RunScreen },
];
