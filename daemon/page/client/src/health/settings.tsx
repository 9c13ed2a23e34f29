/** The settings of config.toml, to read: they are edited in the file, and taken up while the daemon runs. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { explain, get } from "../api/client";
import type { DaemonSettings } from "../api/shapes";
import { CodeText } from "../parts/code_text";
import { Trouble } from "../parts/empty";

export function Settings() {
  const found = useSignal<DaemonSettings | null>(null);
  const trouble = useSignal("");
  useEffect(() => {
    get<DaemonSettings>("/v1/config").then(
      (answer) => (found.value = answer),
      (error: unknown) => (trouble.value = explain(error)),
    );
  }, []);
  return (
    <section class="card block below" aria-label="Settings">
      <h2>Settings</h2>
      <Trouble text={trouble.value || found.value?.error || ""} />
      {found.value && <p class="soft">{found.value.file}: edit it there; what can be is taken up at once.</p>}
      <div class="scrolls">
        <table class="table settings-table">
          <caption class="hidden-label">The settings of config.toml</caption>
          <tbody>
            {found.value?.settings.map((each) => (
              <tr key={each.name}>
                <th scope="row" class="mono">
                  {each.name}
                </th>
                <td class="mono">{show(each.value)}</td>
                <td class="soft">
                  <CodeText text={each.description} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function show(value: unknown): string {
  if (value === null || value === "" || (Array.isArray(value) && !value.length)) return "–";
  if (Array.isArray(value) && value.every((each) => typeof each === "string")) return value.join(", ");
  return typeof value === "string" ? value : JSON.stringify(value);
}
