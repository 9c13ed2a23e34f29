/** Writes durations as the commands do, and moments as people speak of them. */

/** Formats seconds: 0.4s, 12s, 3m07s, 2h05m, 4d03h. */
export function formatDuration(seconds: number): string {
  if (seconds < 9.95) return `${Math.max(seconds, 0).toFixed(1)}s`;
  const total = Math.round(seconds);
  if (total < 60) return `${total}s`;
  const minutes = Math.floor(total / 60);
  if (minutes < 60) return `${minutes}m${pad(total % 60)}s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours}h${pad(minutes % 60)}m`;
  return `${Math.floor(hours / 24)}d${pad(hours % 24)}h`;
}

/** Formats Unix time: the time of day for today, the date and the time for any other day. */
export function formatClock(moment: number | null | undefined): string {
  if (moment === null || moment === undefined) return "–";
  const date = new Date(moment * 1000);
  const clock = `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
  return date.toDateString() === new Date().toDateString() ? clock : `${formatDay(date)} ${clock}`;
}

/** Formats a moment that a person has chosen: as formatClock, without seconds where there are none. */
export function formatPlan(moment: number): string {
  return formatClock(moment).replace(/(:\d\d):00$/, "$1");
}

/** Formats how long ago a moment was: just now, 5 min ago, 3 h ago, yesterday's date. */
export function formatAge(moment: number, now: number): string {
  const seconds = now - moment;
  if (seconds < 45) return "just now";
  if (seconds < 3570) return `${Math.max(1, Math.round(seconds / 60))} min ago`;
  if (seconds < 22.5 * 3600) return `${Math.round(seconds / 3600)} h ago`;
  if (seconds < 7 * 86_400) return `${Math.max(1, Math.round(seconds / 86_400))} d ago`;
  return formatDay(new Date(moment * 1000));
}

function formatDay(date: Date): string {
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
}

function pad(number: number): string {
  return String(number).padStart(2, "0");
}
