/** Light or dark: the system's, until the other is chosen; chosen again, it is the system's. */
import { computed, effect, signal } from "@preact/signals";

const KEY = "prefd-theme";
const system = matchMedia("(prefers-color-scheme: dark)");
const systemDark = signal(system.matches);
const chosen = signal(readChosen());

export const theme = computed(() => chosen.value || (systemDark.value ? "dark" : "light"));

export function keepTheme(): void {
  system.addEventListener("change", (event) => (systemDark.value = event.matches));
  effect(() => {
    document.documentElement.dataset["theme"] = theme.value;
  });
}

export function toggleTheme(): void {
  const other = theme.value === "dark" ? "light" : "dark";
  chosen.value = other === (systemDark.value ? "dark" : "light") ? "" : other;
  try {
    localStorage.setItem(KEY, chosen.value);
  } catch {
    // It holds until the page is closed.
  }
}

function readChosen(): string {
  try {
    const value = localStorage.getItem(KEY);
    return value === "dark" || value === "light" ? value : "";
  } catch {
    return "";
  }
}
