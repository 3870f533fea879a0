/** Files of the pages, from the package and from their libraries; the Worker has them in its assets folder. */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { extname } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import type { Asset, AssetReader } from "../api/admin/assets.ts";
import { adminAssetsFolder, docsAssetsFolder } from "./package-files.ts";

const require = createRequire(import.meta.url);

/** Where each file comes from. */
const files: Record<string, () => string> = {
  "admin.css": () => `${adminAssetsFolder}/admin.css`,
  "admin.js": () => `${adminAssetsFolder}/admin.js`,
  "htmx.min.js": () => require.resolve("htmx.org/dist/htmx.min.js"),
  "uPlot.iife.min.js": () => require.resolve("uplot/dist/uPlot.iife.min.js"),
  "uPlot.min.css": () => require.resolve("uplot/dist/uPlot.min.css"),
  "docs.css": () => `${docsAssetsFolder}/docs.css`,
  "docs.js": () => `${docsAssetsFolder}/docs.js`,
  "swagger-ui.css": () => require.resolve("swagger-ui-dist/swagger-ui.css"),
  "swagger-ui-bundle.js": () => require.resolve("swagger-ui-dist/swagger-ui-bundle.js"),
};

const contentTypes: Record<string, string> = {
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
};

const compress = promisify(gzip);
const read = new Map<string, Promise<Asset>>();

/** Read and compressed once for the life of the process. */
export const readAdminAsset: AssetReader = async (name) => {
  const locate = Object.hasOwn(files, name) ? files[name] : undefined;
  if (locate === undefined) return undefined;
  const reading = read.get(name) ?? load(locate());
  read.set(name, reading);
  // A failure is not worth remembering.
  reading.catch(() => read.delete(name));
  return await reading;
};

async function load(path: string): Promise<Asset> {
  const bytes = new Uint8Array(await readFile(path));
  return {
    bytes,
    gzip: new Uint8Array(await compress(bytes, { level: 9 })),
    contentType: contentTypes[extname(path)] ?? "application/octet-stream",
    etag: `"${createHash("sha256").update(bytes).digest("base64url").slice(0, 22)}"`,
  };
}
