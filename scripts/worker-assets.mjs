/**
 * Puts the libraries of the pages beside the pages' own files, and the description of the API, where Workers serve them
 * from: what never changes is no part of the script. Wrangler runs this before `dev` and `deploy`; Node serves the same
 * from the packages and modules themselves.
 */
import { copyFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const require = createRequire(import.meta.url);
/** Where each goes, and what. */
const files = {
  admin: ["htmx.org/dist/htmx.min.js", "uplot/dist/uPlot.iife.min.js", "uplot/dist/uPlot.min.css"],
  docs: ["swagger-ui-dist/swagger-ui.css", "swagger-ui-dist/swagger-ui-bundle.js"],
};

for (const [page, names] of Object.entries(files)) {
  const folder = new URL(`../assets/${page}/static/`, import.meta.url);
  for (const name of names) copyFileSync(require.resolve(name), new URL(basename(name), folder));
}

const { outputFiles } = await build({
  stdin: {
    contents: 'export { describeApi } from "./src/api/openapi.ts"; export { version } from "./src/core/version.ts";',
    resolveDir: fileURLToPath(new URL("..", import.meta.url)),
  },
  bundle: true,
  format: "esm",
  write: false,
  logLevel: "error",
});
const { describeApi, version } = await import(
  `data:text/javascript;base64,${Buffer.from(outputFiles[0].text).toString("base64")}`
);
writeFileSync(new URL("../assets/openapi.json", import.meta.url), JSON.stringify(describeApi(version)));
