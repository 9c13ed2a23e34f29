/** The settings of config.toml, to read: they are edited in the file, and taken up while the daemon runs. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { explain, get } from "../api/client";
import { Trouble } from "../parts/empty";

interface Config {
  path: string;
  values: Record<string, unknown>;
  error?: string | null;
}

export function Settings() {
  const config = useSignal<Config | null>(null);
  const trouble = useSignal("");
  useEffect(() => {
    get<Config>("/v1/config").then(
      (found) => (config.value = found),
      (error: unknown) => (trouble.value = explain(error)),
    );
  }, []);
  const rows = config.value ? flatten(config.value.values, "") : [];
  return (
    <section class="card block below" aria-label="Settings">
      <h2>Settings</h2>
      <Trouble text={trouble.value || config.value?.error || ""} />
      {config.value && <p class="soft">{config.value.path}</p>}
      <dl class="pairs-of-facts">
        {rows.map(([name, value]) => (
          <>
            <dt key={name} class="mono">
              {name}
            </dt>
            <dd class="mono">{value}</dd>
          </>
        ))}
      </dl>
    </section>
  );
}

function flatten(values: Readonly<Record<string, unknown>>, prefix: string): [string, string][] {
  return Object.entries(values).flatMap(([name, value]): [string, string][] => {
    if (value !== null && typeof value === "object" && !Array.isArray(value)) return flatten(value as Record<string, unknown>, `${prefix}${name}.`);
    return [[prefix + name, value === null || value === "" ? "–" : typeof value === "string" ? value : JSON.stringify(value)]];
  });
}
