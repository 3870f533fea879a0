/** A local HTTP server with files, ranges, and the faults real servers have. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface ServedFile {
  bytes: Uint8Array;
  /** Answers 200 with everything, whatever was asked for. */
  ignoresRange?: boolean;
  /** Cuts this many answers after `resetAfterBytes`. */
  resets?: number;
  resetAfterBytes?: number;
  /** Sends in pieces of this size. */
  pieceBytes?: number;
  /** Sends nothing after the headers. */
  hangs?: boolean;
  redirectTo?: string;
  status?: number;
  headers?: Record<string, string>;
  /** Starts one byte late. */
  wrongRange?: boolean;
  /** Wanted in `authorization`. */
  token?: string;
}

export interface SeenRequest {
  path: string;
  range: string | undefined;
  authorization: string | undefined;
}

export class RangeServer {
  readonly files = new Map<string, ServedFile>();
  readonly seen: SeenRequest[] = [];
  bytesSent = 0;
  readonly #server: Server;

  constructor() {
    this.#server = createServer((request, response) => this.#answer(request, response));
  }

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Forgets files and requests. */
  reset(): void {
    this.files.clear();
    this.seen.length = 0;
    this.bytesSent = 0;
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = (request.url ?? "/").replace(/\?.*$/, "");
    const { range, authorization } = request.headers;
    this.seen.push({ path, range, authorization });
    const file = this.files.get(path);
    if (file === undefined) return void response.writeHead(404).end();
    if (file.token !== undefined && authorization !== `Bearer ${file.token}`) return void response.writeHead(401).end();
    if (file.redirectTo !== undefined) return void response.writeHead(302, { location: file.redirectTo }).end();
    if (file.status !== undefined) return void response.writeHead(file.status, file.headers).end("no");
    this.#send(response, file, range);
  }

  #send(response: ServerResponse, file: ServedFile, range: string | undefined): void {
    const total = file.bytes.byteLength;
    const asked = file.ignoresRange ? null : /^bytes=(\d+)-(\d*)$/.exec(range ?? "");
    if (asked === null) {
      response.writeHead(200, { "content-length": total, ...file.headers });
      this.#stream(response, file, file.bytes);
      return;
    }
    const start = Number(asked[1]) + (file.wrongRange ? 1 : 0);
    const end = asked[2] === "" ? total : Math.min(Number(asked[2]) + 1, total);
    if (start >= total) return void response.writeHead(416, { "content-range": `bytes */${total}` }).end();
    response.writeHead(206, {
      "content-length": end - start,
      "content-range": `bytes ${start}-${end - 1}/${total}`,
      ...file.headers,
    });
    this.#stream(response, file, file.bytes.subarray(start, end));
  }

  #stream(response: ServerResponse, file: ServedFile, bytes: Uint8Array): void {
    if (file.hangs) return void response.flushHeaders();
    if ((file.resets ?? 0) > 0) {
      file.resets!--;
      const part = bytes.subarray(0, file.resetAfterBytes ?? 0);
      this.bytesSent += part.byteLength;
      response.write(part, () => response.destroy());
      if (part.byteLength === 0) response.destroy();
      return;
    }
    this.#pieces(response, bytes, file.pieceBytes ?? 64 * 1024);
  }

  #pieces(response: ServerResponse, bytes: Uint8Array, size: number): void {
    if (response.destroyed) return;
    if (bytes.byteLength === 0) return void response.end();
    const piece = bytes.subarray(0, size);
    this.bytesSent += piece.byteLength;
    response.write(piece, () => this.#pieces(response, bytes.subarray(size), size));
  }
}
