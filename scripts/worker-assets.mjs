/**
 * Puts the libraries of the pages beside the pages' own files, where Workers serve them from. Wrangler runs this before
 * `dev` and `deploy`; Node serves the same files from the packages themselves.
 */
import { copyFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename } from "node:path";

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
