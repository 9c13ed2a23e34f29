/** What a job is called whose spec names none. A file that is submitted gives it its own name; here there is no file. */
import type { Document } from "yaml";
import { shortenModel } from "../text/losses";
import { isEditable, readSource } from "./document";

const MOST = 180;

/** Makes a name of what tells jobs apart at first sight: the end of the model's path, and the loss. */
export function suggestName(text: string, doc: Document.Parsed): string {
  if (!isEditable(doc)) return "job";
  const model = shortenModel(readSource(text, doc, ["model"]) ?? "");
  const loss = readSource(text, doc, ["loss", "name"]) ?? "";
  const name = [model, loss].map((part) => part.replace(/[^\p{L}\p{N}_.+]+/gu, "-").replace(/^[-.]+|-+$/g, "")).filter(Boolean);
  return name.join("-").slice(0, MOST) || "job";
}
