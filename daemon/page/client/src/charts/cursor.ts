/** The step under the cursor, in every chart at once. */
import { signal } from "@preact/signals";

export const hovered = signal<number | null>(null);
