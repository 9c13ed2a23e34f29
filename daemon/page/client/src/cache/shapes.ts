/** What the reference cache holds, and which jobs used it. */
export interface CacheUse {
  job: number;
  name: string;
  needed: number;
  cached: number;
  scored: number;
  seconds: number | null;
}

export interface CachedReference {
  fingerprint: string;
  model: string | null;
  entries: number;
  tokens: number;
  bytes: number;
  segments: number;
  /** Damaged segments, by their names. */
  damaged: string[];
  identity: Record<string, unknown>;
  provenance: Record<string, unknown>;
  uses: CacheUse[];
}

export interface Cache {
  cache: string;
  references: CachedReference[];
}

export interface Sums {
  entries: number;
  tokens: number;
  bytes: number;
  needed: number;
  answered: number;
}

export function addUp(references: readonly CachedReference[]): Sums {
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
