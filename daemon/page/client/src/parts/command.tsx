/** A command to copy: what a page does not do, a terminal does. */
import { explain } from "../api/client";
import { Button } from "./button";
import { tell, tellError } from "./toast";

export function Command({ text, what }: { text: string; what?: string }) {
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      tell("Copied");
    } catch (error) {
      tellError(new Error(`The browser did not allow to copy: ${explain(error)}`));
    }
  };
  return (
    <div class="command">
      <code>{text}</code>
      <Button onClick={() => void copy()} label={`Copy ${text}`}>
        Copy
      </Button>
      {what && <span class="soft">{what}</span>}
    </div>
  );
}
