// Bundles src/ into ../static: hashed files in assets/, and index.html, the shell that names them.
// `prefd web` puts the style nonce of its Content-Security-Policy into the shell, in place of __NONCE__.
import { readFile, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { basename, resolve } from "node:path";
import * as esbuild from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const elsewhere = process.argv.find((each) => each.startsWith("--out="));
const out = elsewhere ? `${resolve(elsewhere.slice("--out=".length))}/` : fileURLToPath(new URL("../static/", import.meta.url));
const watching = process.argv.includes("--watch");

const writeShell = {
  name: "write-shell",
  setup(build) {
    build.onEnd(async (result) => {
      if (result.errors.length > 0) return;
      const outputs = Object.entries(result.metafile.outputs);
      const [script, entry] = outputs.find(([, output]) => output.entryPoint === "src/main.tsx");
      const names = { SCRIPT: basename(script), STYLE: basename(entry.cssBundle) };
      const template = await readFile(`${here}src/index.html`, "utf8");
      await writeFile(`${out}index.html`, template.replace(/__(SCRIPT|STYLE)__/g, (_, name) => `/assets/${names[name]}`));
    });
  },
};

await rm(out, { recursive: true, force: true });
const context = await esbuild.context({
  absWorkingDir: here,
  entryPoints: ["src/main.tsx"],
  outdir: `${out}assets`,
  bundle: true,
  splitting: true,
  format: "esm",
  target: ["es2022", "chrome111", "firefox115", "safari16.4"],
  jsx: "automatic",
  jsxImportSource: "preact",
  minify: !watching,
  sourcemap: watching ? "linked" : false,
  legalComments: "linked",
  entryNames: "[name]-[hash]",
  chunkNames: "[name]-[hash]",
  assetNames: "[name]-[hash]",
  metafile: true,
  logLevel: "warning",
  plugins: [writeShell],
});
if (watching) {
  await context.watch();
} else {
  await context.rebuild();
  await context.dispose();
}
