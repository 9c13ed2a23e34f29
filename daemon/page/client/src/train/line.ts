/** The line that the editor is to show, asked for by a click on a fault; null when it has been shown. */
import { signal } from "@preact/signals";

export const lineAsked = signal<number | null>(null);
