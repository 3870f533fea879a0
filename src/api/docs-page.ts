/** GET /docs: the routes to read and to try, made of /openapi.json in the browser. No other server is asked. */
import { Hono } from "hono";
import { AppError } from "../core/errors.ts";
import { type AssetReader, respondWithAsset } from "./admin/assets.ts";

/** Files of the page; the reader has others too, which are not served here. */
export const docsFiles: readonly string[] = ["swagger-ui.css", "swagger-ui-bundle.js", "docs.css", "docs.js"];

const page = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Snug API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/static/swagger-ui.css">
<link rel="stylesheet" href="/docs/static/docs.css">
</head>
<body>
<main id="routes"></main>
<noscript>This page needs a script; <a href="/openapi.json">openapi.json</a> says the same without.</noscript>
<script src="/docs/static/swagger-ui-bundle.js"></script>
<script src="/docs/static/docs.js"></script>
</body>
</html>
`;

const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  // Its icons are part of the style sheet.
  "img-src 'self' data:",
  "connect-src 'self'",
  "form-action 'none'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join("; ");

/** @param assets left out where the runtime serves the files */
export function createDocsPage(assets?: AssetReader): Hono {
  const docs = new Hono();
  docs.get("/", (context) =>
    context.html(page, 200, { "content-security-policy": contentSecurityPolicy, "cache-control": "no-cache" }),
  );
  docs.get("/static/:name", async (context) => {
    const name = context.req.param("name");
    const asset = docsFiles.includes(name) ? await assets?.(name) : undefined;
    if (asset === undefined) throw new AppError("not_found", "There is no such file.");
    return respondWithAsset(asset, context.req.raw);
  });
  return docs;
}
