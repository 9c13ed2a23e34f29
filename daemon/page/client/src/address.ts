/** The address is the state: what is chosen, searched and zoomed is in it, so that a reload, a link and Back show the same. */
import { useLocation } from "preact-iso";
import { formatQuery, type Query } from "./api/client";

export interface Address {
  path: string;
  query: Readonly<Record<string, string>>;
  /** Changes parameters and leaves the others; null takes one away. It replaces the entry in the history. */
  change: (changes: Query) => void;
  go: (href: string) => void;
}

export function useAddress(): Address {
  const { path, query, route } = useLocation();
  return {
    path,
    query,
    change: (changes) => {
      const current = Object.fromEntries(new URLSearchParams(location.search));
      route(location.pathname + formatQuery({ ...current, ...changes }), true);
    },
    go: (href) => route(href),
  };
}

/** Reads a number from the address; null where there is none. */
export function readNumber(text: string | undefined): number | null {
  const number = Number(text);
  return text && Number.isFinite(number) ? number : null;
}
