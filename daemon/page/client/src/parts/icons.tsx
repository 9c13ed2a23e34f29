/** The few icons, as paths on a 16 × 16 grid. */
const PATHS = {
  pause: "M5 3v10M11 3v10",
  play: "M4.5 3v10l8-5z",
  close: "M3.5 3.5l9 9M12.5 3.5l-9 9",
  theme: "M8 2a6 6 0 100 12A6 6 0 008 2z",
  retry: "M13 8a5 5 0 11-1.6-3.7M13 2v3h-3",
  up: "M8 13V3M4 7l4-4 4 4",
  down: "M8 3v10M4 9l4 4 4-4",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
      <path d={PATHS[name]} fill={name === "play" ? "currentColor" : "none"} />
      {name === "theme" && <path d="M8 2a6 6 0 010 12z" fill="currentColor" />}
    </svg>
  );
}

export function Logo() {
  return (
    <svg viewBox="0 0 20 20" fill="none" stroke-width="2.4" stroke-linecap="round" aria-hidden="true">
      <path d="M2 15c6 0 6-11 15-11" stroke="var(--blue)" />
      <path d="M2 17c5 0 8-1 15-1" stroke="var(--orange)" />
    </svg>
  );
}
