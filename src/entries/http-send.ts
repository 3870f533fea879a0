/**
 * Requests to engines over node:http. `fetch` does the same through web streams, which costs several times as much for
 * every answer and every token: docs/decisions/2026-11-20-own-transport-on-node.md
 */
import {
  type ClientRequest,
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingMessage,
  type RequestOptions,
} from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import type { HttpBodyReader, HttpReply, HttpRequestOptions, HttpSend } from "../http/transport.ts";

/** Bytes read ahead of a reader before the connection is asked to wait. */
const readAheadBytesMax = 256 * 1024;

const keepOpen = { keepAlive: true, keepAliveMsecs: 30_000, scheduling: "lifo" } as const;
const plain = { ask: httpRequest, agent: new HttpAgent(keepOpen) };
const secure = { ask: httpsRequest, agent: new HttpsAgent(keepOpen) };

/** Rejects as `fetch` does: nothing listens, the connection broke before the head, or the signal aborted. */
export const sendOverHttp: HttpSend = (url, options) => send(url, options, true);

function send(url: string, options: HttpRequestOptions, mayRetry: boolean): Promise<HttpReply> {
  const { method = "GET", headers, body, signal } = options;
  const { ask, agent } = url.startsWith("https:") ? secure : plain;
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const length = body === undefined ? {} : { "content-length": String(Buffer.byteLength(body)) };
    const request: ClientRequest = ask({ ...placeOf(url), method, headers: { ...headers, ...length }, agent });
    const abort = () => request.destroy(new Error("The request was aborted."));
    signal.addEventListener("abort", abort, { once: true });
    const over = () => signal.removeEventListener("abort", abort);
    request.on("response", (reply) => resolve(toReply(reply, over)));
    request.on("error", (error: NodeJS.ErrnoException) => {
      over();
      // The server closed an idle connection in the moment it was to be used again: nobody has seen the request.
      const stale = request.reusedSocket && (error.code === "ECONNRESET" || error.code === "EPIPE");
      if (stale && mayRetry && !signal.aborted) resolve(send(url, options, false));
      else reject(error);
    });
    request.end(body);
  });
}

/** Engines have few addresses, and taking one apart costs every request. */
const places = new Map<string, RequestOptions>();

function placeOf(url: string): RequestOptions {
  const known = places.get(url);
  if (known !== undefined) return known;
  const { protocol, hostname, port, pathname, search, username, password } = new URL(url);
  const place: RequestOptions = {
    protocol,
    hostname: hostname.replace(/^\[|\]$/g, ""),
    port: port === "" ? undefined : Number(port),
    path: `${pathname}${search}`,
    ...(username === "" ? {} : { auth: `${decodeURIComponent(username)}:${decodeURIComponent(password)}` }),
  };
  if (places.size >= placesMax) places.clear();
  places.set(url, place);
  return place;
}

const placesMax = 256;

function toReply(reply: IncomingMessage, over: () => void): HttpReply {
  const status = reply.statusCode ?? 0;
  return {
    ok: status >= 200 && status < 300,
    status,
    headers: {
      get(name) {
        const value = reply.headers[name];
        return Array.isArray(value) ? value.join(", ") : (value ?? null);
      },
    },
    body: { getReader: () => readReply(reply, over) },
  };
}

/** What has arrived since the last read comes in one piece. */
function readReply(reply: IncomingMessage, over: () => void): HttpBodyReader {
  let waiting: Buffer[] = [];
  let bytes = 0;
  let ended = false;
  let failure: Error | undefined;
  let wake: (() => void) | undefined;
  let eager: ((bytes: Uint8Array) => boolean) | undefined;
  let declined: Buffer | undefined;

  const changed = () => {
    wake?.();
    wake = undefined;
    eager = undefined;
  };
  /** True when whoever waits took it. */
  const offer = (part: Buffer): boolean => {
    if (eager === undefined || waiting.length > 0) return false;
    try {
      if (eager(part)) return true;
      declined = part;
    } catch (thrown) {
      failure = thrown instanceof Error ? thrown : new Error(String(thrown));
    }
    changed();
    return true;
  };
  reply.on("data", (part: Buffer) => {
    if (offer(part)) return;
    waiting.push(part);
    bytes += part.length;
    if (bytes > readAheadBytesMax) reply.pause();
    changed();
  });
  reply.on("end", () => {
    ended = true;
    over();
    changed();
  });
  reply.on("error", (error) => {
    failure = error;
    over();
    changed();
  });
  // Also without an error: a connection that closed before the end.
  reply.on("close", () => {
    if (!ended) failure ??= new Error("The connection closed in the middle of the reply.");
    over();
    changed();
  });

  return {
    async read(taker) {
      if (waiting.length === 0 && !ended && failure === undefined) {
        eager = taker;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      if (declined !== undefined) {
        const value = declined;
        declined = undefined;
        return { done: false, value };
      }
      if (waiting.length > 0) {
        const value = waiting.length === 1 ? waiting[0] : Buffer.concat(waiting);
        waiting = [];
        bytes = 0;
        if (reply.isPaused()) reply.resume();
        return { done: false, value };
      }
      if (failure !== undefined) throw failure;
      return { done: true };
    },
    async cancel() {
      over();
      reply.destroy();
    },
  };
}
