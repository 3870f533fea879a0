/**
 * Styles and scripts of the admin page. They are files beside the program, not a part of it: Workers serve them by
 * themselves before the program is asked, Node hands in a reader.
 */
export interface Asset {
  bytes: Uint8Array<ArrayBuffer>;
  /** The same, for browsers that take it. */
  gzip: Uint8Array<ArrayBuffer>;
  contentType: string;
  /** Changes with the bytes. */
  etag: string;
}

/** @param name a file name without folders; undefined where there is no such file */
export type AssetReader = (name: string) => Promise<Asset | undefined>;

export function respondWithAsset(asset: Asset, request: Request): Response {
  const headers = new Headers({
    "content-type": asset.contentType,
    etag: asset.etag,
    // Asked for again each time and answered with 304: a new release is never mixed with old styles.
    "cache-control": "no-cache",
    vary: "accept-encoding",
  });
  const known = request.headers.get("if-none-match") ?? "";
  if (known.split(/\s*,\s*/).some((tag) => tag.replace(/^W\//, "") === asset.etag)) {
    return new Response(null, { status: 304, headers });
  }
  if (!/\bgzip\b/.test(request.headers.get("accept-encoding") ?? "")) return new Response(asset.bytes, { headers });
  headers.set("content-encoding", "gzip");
  return new Response(asset.gzip, { headers });
}
