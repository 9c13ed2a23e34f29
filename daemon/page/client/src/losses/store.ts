/** The losses that are installed: asked once, and again where that failed. */
import { signal } from "@preact/signals";
import { explain, get } from "../api/client";
import type { LossInfo, LossList } from "../api/shapes";

export const losses = signal<readonly LossInfo[]>([]);
export const lossesTrouble = signal("");

/** The order in which people meet them; losses that are not named here follow, in the server's order. */
const FIRST = ["sigmoid", "hinge", "ipo", "dpop", "cpo", "cpo_hinge", "cpo_ipo", "cpo_dpop", "simpo", "sft"];

export async function loadLosses(): Promise<void> {
  if (losses.peek().length) return;
  try {
    const found = await get<LossList>("/v1/losses");
    const rank = ({ name }: LossInfo) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);
    losses.value = Object.values(found.losses).sort((a, b) => rank(a) - rank(b));
    lossesTrouble.value = "";
  } catch (error) {
    lossesTrouble.value = explain(error);
  }
}
