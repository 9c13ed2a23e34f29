/** What drawing on a plot and fingers on it need of one: all that other files know of the chart library. */
export interface Plot {
  readonly ctx: CanvasRenderingContext2D;
  /** Where the curves are, in pixels of the canvas. */
  readonly bbox: Readonly<Record<"left" | "top" | "width" | "height", number>>;
  /** The element over the curves, which pointers meet. */
  readonly over: HTMLElement;
  readonly scales: Readonly<Record<string, { readonly min?: number | null; readonly max?: number | null }>>;
  /** The pixel of a value: of the canvas, else of the element over the curves. */
  valToPos(value: number, scale: "x" | "y", ofCanvas?: boolean): number;
  posToVal(position: number, scale: "x" | "y"): number;
  /** Shows what is being chosen; `tell`: whether it is chosen with that. */
  setSelect(box: Record<"left" | "top" | "width" | "height", number>, tell?: boolean): void;
}
