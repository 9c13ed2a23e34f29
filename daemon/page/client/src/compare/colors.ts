/** A colour for each of several jobs; with more jobs than colours they come again. */
import type { Color } from "../charts/panels";

export const JOB_COLORS: readonly Color[] = ["blue", "orange", "green", "violet", "teal", "red", "grey"];
