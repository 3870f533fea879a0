/** A stand-in for the Hugging Face hub: lists repositories and serves their files, with the faults a range server has. */
import { createHash } from "node:crypto";
import { RangeServer, type ServedFile } from "./range-server.ts";

export class HubServer {
  readonly server = new RangeServer();

  async start(): Promise<string> {
    return await this.server.start();
  }

  async stop(): Promise<void> {
    await this.server.stop();
  }

  /** Puts files into a repository and returns how each is served, for adding faults. */
  publish(
    repository: string,
    files: Record<string, Uint8Array>,
    access: Pick<ServedFile, "token"> = {},
  ): Record<string, ServedFile> {
    const listing = Object.entries(files).map(([path, bytes]) => ({
      type: "file",
      path,
      size: bytes.byteLength,
      lfs: { oid: createHash("sha256").update(bytes).digest("hex"), size: bytes.byteLength },
    }));
    const list = new TextEncoder().encode(JSON.stringify(listing));
    this.server.files.set(`/api/models/${repository}/tree/main`, { bytes: list, ...access });
    const served: Record<string, ServedFile> = {};
    for (const [path, bytes] of Object.entries(files)) {
      const file: ServedFile = { bytes, ...access };
      served[path] = file;
      this.server.files.set(`/${repository}/resolve/main/${path}`, file);
    }
    return served;
  }

  /** Ranges asked for of a file, in order; "whole" for requests without one. */
  requestsFor(path: string): string[] {
    return this.server.seen.filter((seen) => seen.path.endsWith(path)).map((seen) => seen.range ?? "whole");
  }
}
