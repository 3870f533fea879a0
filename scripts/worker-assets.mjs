/**
 * Puts the admin page's two libraries beside its own files, where Workers serve them from. Wrangler runs this before
 * `dev` and `deploy`; Node serves the same files from the packages themselves.
 */
import { copyFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename } from "node:path";

const require = createRequire(import.meta.url);
const folder = new URL("../assets/admin/static/", import.meta.url);

for (const file of ["htmx.org/dist/htmx.min.js", "uplot/dist/uPlot.iife.min.js", "uplot/dist/uPlot.min.css"]) {
  copyFileSync(require.resolve(file), new URL(basename(file), folder));
}
