/** The steps that are shown are in the address; here are the keys and the buttons that change them, beside a drag over a chart. */
import { useAddress, readNumber } from "../address";
import { Button } from "../parts/button";
import { useKeys } from "../shell/keys";
import type { Zoom } from "./chart";
import { scaleView, settleView, shiftView, type View } from "./zoom";

const IN = 0.5;
const OUT = 2;
const PAN = 0.5;

export interface Zooming {
  range: { from: number | null; to: number | null };
  zoomed: boolean;
  zoom: Zoom;
  scale: (factor: number) => void;
  shift: (share: number) => void;
}

/** `steps`: the first and the last that there are, as far as is known; `seen`: those that are drawn. */
export function useZoom(steps: View | null, seen: View | null): Zooming {
  const { query, change } = useAddress();
  const [from, to] = [readNumber(query["from"]), readNumber(query["to"])];
  const show = (view: View | null) => change({ from: view?.[0] ?? null, to: view?.[1] ?? null });
  const view: View | null = seen && [from ?? seen[0], to ?? seen[1]];
  return {
    range: { from, to },
    zoomed: from !== null || to !== null,
    zoom: (first, last) => show(first === null || last === null ? null : settleView([first, last], steps)),
    scale: (factor) => view && show(scaleView(view, factor, steps)),
    shift: (share) => view && (from !== null || to !== null) && show(shiftView(view, share, steps)),
  };
}

export function useZoomKeys({ zoom, scale, shift }: Zooming): void {
  useKeys("Zoom", [
    { keys: "+", text: "fewer steps (as a drag over a chart, or two fingers)", act: () => scale(IN) },
    { keys: "-", text: "more steps", act: () => scale(OUT) },
    { keys: "h", text: "earlier steps", act: () => shift(-PAN) },
    { keys: "l", text: "later steps", act: () => shift(PAN) },
    { keys: "0", text: "all steps again", act: () => zoom(null, null) },
  ]);
}

export function ZoomTools({ zooming: { range, zoomed, zoom, scale } }: { zooming: Zooming }) {
  return (
    <span class="zoom-tools number">
      {zoomed && (
        <Button onClick={() => zoom(null, null)}>
          steps {range.from ?? "…"} to {range.to ?? "…"} <kbd>0</kbd>
        </Button>
      )}
      <Button tone="plain" label="More steps" disabled={!zoomed} onClick={() => scale(OUT)}>
        −
      </Button>
      <Button tone="plain" label="Fewer steps" onClick={() => scale(IN)}>
        +
      </Button>
    </span>
  );
}
