/** Keys: a screen binds what it has while it is shown, and `?` lists what is bound. */
import { signal } from "@preact/signals";
import { useLayoutEffect } from "preact/hooks";

export interface Binding {
  /** As it is typed: `j`, `Enter`, `g j`. */
  keys: string;
  text: string;
  act: (event: KeyboardEvent) => void;
}

interface Group {
  title: string;
  bindings: readonly Binding[];
}

const SEQUENCE_MS = 900;

export const groups = signal<readonly Group[]>([]);
let prefix = "";
let prefixAt = 0;

/** Binds keys for as long as the component is shown, from the moment that it is seen; `bindings` may change with each drawing. */
export function useKeys(title: string, bindings: readonly Binding[]): void {
  const texts = bindings.map((each) => each.keys + each.text).join();
  useLayoutEffect(() => {
    const group: Group = { title, bindings };
    groups.value = [...groups.value.filter((each) => each.title !== title), group];
    return () => {
      groups.value = groups.value.filter((each) => each !== group);
    };
  }, [title, texts]);
  const mine = groups.peek().find((each) => each.title === title);
  if (mine) (mine as { bindings: readonly Binding[] }).bindings = bindings;
}

export function keepKeys(): void {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    const chord = prefix && Date.now() - prefixAt < SEQUENCE_MS ? `${prefix} ${event.key}` : event.key;
    prefix = "";
    const all = groups.value.flatMap((group) => group.bindings);
    const found = all.findLast((each) => each.keys === chord) ?? all.findLast((each) => each.keys === event.key);
    if (found && !document.querySelector("dialog[open]")) {
      event.preventDefault();
      found.act(event);
    } else if (all.some((each) => each.keys.startsWith(`${event.key} `))) {
      prefix = event.key;
      prefixAt = Date.now();
    }
  });
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) && !isCheckbox(target);
}

function isCheckbox(target: HTMLElement): boolean {
  return target instanceof HTMLInputElement && (target.type === "checkbox" || target.type === "range");
}
