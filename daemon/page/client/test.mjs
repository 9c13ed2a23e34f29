// Runs src/**/*.test.ts, bundled for Node, with Node's own test runner.
import { spawnSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const entryPoints = readdirSync(join(here, "src"), { recursive: true })
  .filter((name) => name.endsWith(".test.ts"))
  .map((name) => join(here, "src", name));
const outdir = await mkdtemp(join(tmpdir(), "prefd-page-tests-"));
try {
  await esbuild.build({ entryPoints, outdir, bundle: true, platform: "node", format: "cjs", outExtension: { ".js": ".cjs" }, logLevel: "warning" });
  const { status } = spawnSync(process.execPath, ["--test", outdir], { stdio: "inherit" });
  process.exitCode = status ?? 1;
} finally {
  await rm(outdir, { recursive: true, force: true });
}
