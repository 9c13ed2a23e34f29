/** Adds up what the cache holds and how it served. */
import type { StoredReferenceDocument } from "../api/shapes";

export interface Sums {
  entries: number;
  tokens: number;
  bytes: number;
  needed: number;
  answered: number;
}

export function addUp(references: readonly StoredReferenceDocument[]): Sums {
  const sums = { entries: 0, tokens: 0, bytes: 0, needed: 0, answered: 0 };
  for (const each of references) {
    sums.entries += each.entries;
    sums.tokens += each.tokens;
    sums.bytes += each.bytes;
    for (const use of each.uses) {
      sums.needed += use.needed;
      sums.answered += use.cached;
    }
  }
  return sums;
}
