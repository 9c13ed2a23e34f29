/** Starts the daemon from the page, as `prefd start --detach` does. */
import { signal } from "@preact/signals";
import { post } from "../api/client";
import { Button } from "../parts/button";
import { tell, tellError } from "../parts/toast";
import { refreshStatus } from "../stores/status";

const starting = signal(false);

export function StartButton() {
  return (
    <Button disabled={starting.value} onClick={() => void startDaemon()}>
      {starting.value ? "starts…" : "Start it"}
    </Button>
  );
}

async function startDaemon(): Promise<void> {
  starting.value = true;
  try {
    await post("/v1/start");
    tell("The daemon runs");
  } catch (error) {
    tellError(error);
  } finally {
    starting.value = false;
  }
  await refreshStatus();
}
