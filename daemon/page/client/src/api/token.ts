/**
 * Keeps the token that `prefd web` printed. It comes in the address's fragment, which no browser sends anywhere, is kept in this
 * origin's localStorage and taken out of the address at once. It is never put into a cookie: those go to every port.
 */
import { signal } from "@preact/signals";

const KEY = "prefd-token";

export const token = signal(readStored());

/** Whether the server has refused the token, or there is none: the panel that asks for one is shown in the screen's place. */
export const locked = signal(!token.value);

/** Takes the token out of the address that the page was opened with, if it has one. */
export function takeTokenFromAddress(): void {
  const found = findToken(location.hash);
  if (!found) return;
  history.replaceState(null, "", location.pathname + location.search);
  keepToken(found);
}

/** Finds the token in an address, its fragment or the token alone, as people paste it; null where there is none. */
export function findToken(text: string): string | null {
  const match = /(?:^|[#&?])token=([\w-]{20,})/.exec(text.trim()) ?? /^([\w-]{20,})$/.exec(text.trim());
  return match?.[1] ?? null;
}

export function keepToken(value: string): void {
  token.value = value;
  locked.value = false;
  try {
    localStorage.setItem(KEY, value);
  } catch {
    // A browser that stores nothing keeps it for as long as the page is open.
  }
}

function readStored(): string {
  try {
    return localStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

/** Another tab of this origin was given a token: this one goes on with it. */
addEventListener("storage", (event) => {
  if (event.key === KEY && event.newValue && event.newValue !== token.value) {
    token.value = event.newValue;
    locked.value = false;
  }
});
