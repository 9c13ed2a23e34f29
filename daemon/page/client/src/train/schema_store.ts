/** The schema of a spec, of which the form is made: asked once, and again where that failed. */
import { signal } from "@preact/signals";
import { explain, get } from "../api/client";
import type { Schema } from "./schema";

export const schema = signal<Schema | null>(null);
export const schemaTrouble = signal("");

export async function loadSchema(): Promise<void> {
  if (schema.peek()) return;
  try {
    schema.value = await get<Schema>("/v1/schema");
    schemaTrouble.value = "";
  } catch (error) {
    schemaTrouble.value = explain(error);
  }
}
