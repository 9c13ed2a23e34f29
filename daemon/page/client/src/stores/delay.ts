/** Returns a function that calls `act` once, `ms` after the first of any number of calls: many events are one redraw. */
export function delay(act: () => void, ms: number): () => void {
  let timer: ReturnType<typeof setTimeout> | null = null;
  return () => {
    timer ??= setTimeout(() => {
      timer = null;
      act();
    }, ms);
  };
}
