/** Stands where the screen would, until there is a token that the server takes; then the same address goes on. */
import { useState } from "preact/hooks";
import { findToken, keepToken } from "../api/token";
import { Button } from "../parts/button";

export function Locked() {
  const [text, setText] = useState("");
  const [trouble, setTrouble] = useState("");
  const unlock = (event: SubmitEvent) => {
    event.preventDefault();
    const found = findToken(text);
    if (found) keepToken(found);
    else setTrouble("There is no token in that: it is the address with #token=… at its end.");
  };
  return (
    <main class="screen">
      <section class="card locked">
        <h1>This page is locked</h1>
        <p class="soft">
          Only whoever can read prefd's home may use it. Paste the address that <code>prefd web</code> printed, or run <code>prefd web --open</code>.
        </p>
        <form onSubmit={unlock}>
          <label class="hidden-label" for="token">
            The address with its token
          </label>
          <input id="token" class="field" type="password" autocomplete="off" placeholder="http://127.0.0.1:8377/#token=…" value={text} onInput={(event) => setText(event.currentTarget.value)} />
          <Button tone="primary" submit>
            Unlock
          </Button>
        </form>
        {trouble && (
          <p class="bad" role="alert">
            {trouble}
          </p>
        )}
      </section>
    </main>
  );
}
