/** Asks before something that cannot be taken back. */
import { signal } from "@preact/signals";
import { Button } from "./button";
import { Dialog } from "./dialog";

interface Question {
  title: string;
  text: string;
  yes: string;
  danger: boolean;
  answer: (yes: boolean) => void;
}

const question = signal<Question | null>(null);

/** Shows a question, and resolves to what was chosen; to false where it was closed. */
export function confirm(title: string, text: string, yes: string, danger = true): Promise<boolean> {
  question.value?.answer(false);
  return new Promise((answer) => (question.value = { title, text, yes, danger, answer }));
}

export function ConfirmDialog() {
  const asked = question.value;
  if (!asked) return null;
  const end = (yes: boolean) => {
    question.value = null;
    asked.answer(yes);
  };
  const feet = (
    <>
      <Button onClick={() => end(false)}>Leave it</Button>
      <Button tone={asked.danger ? "danger" : "primary"} onClick={() => end(true)}>
        {asked.yes}
      </Button>
    </>
  );
  return (
    <Dialog title={asked.title} feet={feet} onClose={() => end(false)}>
      <p>{asked.text}</p>
    </Dialog>
  );
}
