/** Asks the server: JSON in, JSON out, each refusal an `ApiError` with the server's own lines. */
import { signal } from "@preact/signals";
import { locked, token } from "./token";

export type Value = string | number | boolean;
export type Query = Record<string, Value | readonly Value[] | null | undefined>;

/** Whether `prefd web` itself answers; false from the first request that reaches nobody to the next that reaches it. */
export const reachable = signal(true);

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly lines: readonly string[],
  ) {
    super(lines.join("\n"));
  }
}

export function get<T>(path: string, query: Query = {}, abort?: AbortSignal): Promise<T> {
  return ask<T>("GET", path + formatQuery(query), undefined, undefined, abort);
}

export function post<T>(path: string, body: unknown = {}, query: Query = {}): Promise<T> {
  return ask<T>("POST", path + formatQuery(query), JSON.stringify(body), "application/json");
}

/** Posts a text as it is, such as a spec in YAML. */
export function postText<T>(path: string, text: string, media: string, query: Query = {}, abort?: AbortSignal): Promise<T> {
  return ask<T>("POST", path + formatQuery(query), text, media, abort);
}

export function formatQuery(query: Query): string {
  const found = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (value === null || value === undefined || value === "") continue;
    for (const each of Array.isArray(value) ? (value as readonly Value[]) : [value as Value]) found.append(key, String(each));
  }
  const text = found.toString();
  return text && `?${text}`;
}

/** Sends a request with the token in its header. Throws `ApiError`; status 0 where nobody answers. */
export async function send(path: string, init: RequestInit): Promise<Response> {
  const headers = new Headers(init.headers);
  headers.set("Authorization", `Bearer ${token.value}`);
  let response: Response;
  try {
    response = await fetch(path, { ...init, headers, cache: "no-store", credentials: "omit", redirect: "error" });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    reachable.value = false;
    throw new ApiError(0, ["prefd web does not answer: is it still running?"]);
  }
  reachable.value = true;
  if (response.ok) return response;
  if (response.status === 401) locked.value = true;
  throw new ApiError(response.status, await readLines(response));
}

async function ask<T>(method: string, path: string, body?: string, media?: string, abort?: AbortSignal): Promise<T> {
  const init: RequestInit = { method };
  if (media) init.headers = { "Content-Type": media };
  if (body !== undefined) init.body = body;
  if (abort) init.signal = abort;
  return (await send(path, init)).json() as Promise<T>;
}

async function readLines(response: Response): Promise<string[]> {
  const text = await response.text();
  try {
    const refusal = JSON.parse(text) as { lines?: string[]; error?: string };
    if (refusal.lines?.length) return refusal.lines;
    if (refusal.error) return [refusal.error];
  } catch {
    // Not JSON: a proxy's own page, of which the status says enough.
  }
  return [`the server answered ${response.status} ${response.statusText}`];
}

/** What to show of anything that was thrown. */
export function explain(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
