/** Lists the keys of the screen that is shown. */
import { signal } from "@preact/signals";
import { Dialog } from "../parts/dialog";
import { groups } from "./keys";

export const helpOpen = signal(false);

export function Help() {
  if (!helpOpen.value) return null;
  return (
    <Dialog title="Keys" onClose={() => (helpOpen.value = false)}>
      <dl class="keys">
        {groups.value.map((group) => (
          <>
            <h3>{group.title}</h3>
            {group.bindings.map((each) => (
              <>
                <dt>
                  {each.keys.split(" ").map((key) => (
                    <>
                      <kbd>{key}</kbd>{" "}
                    </>
                  ))}
                </dt>
                <dd>{each.text}</dd>
              </>
            ))}
          </>
        ))}
      </dl>
    </Dialog>
  );
}
