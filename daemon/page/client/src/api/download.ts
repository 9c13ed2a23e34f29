/** Saves an answer as a file: a plain link could not carry the token. */
import { send } from "./client";

export async function saveAnswer(path: string, name: string): Promise<void> {
  const response = await send(path, { method: "GET" });
  const address = URL.createObjectURL(await response.blob());
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  URL.revokeObjectURL(address);
}
