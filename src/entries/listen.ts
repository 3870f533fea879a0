/** A Hono app on a TCP port, with a close that waits for answers under way. */
import type { Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { serve, type WebSocketServerLike } from "@hono/node-server";
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import { AppError } from "../core/errors.ts";
import { requestHeadMsMax, requestMsMax } from "../core/limits.ts";
import { sourceOf, writeAnswer } from "./node-streams.ts";

export interface Listener {
  address: string;
  /** Takes no more connections; open ones go on. */
  refuse(): void;
  /** Waits for open responses to end and cuts what is left after `waitMs`. */
  close(waitMs: number): Promise<void>;
}

/** Between two looks for idle connections at shutdown. */
const idlePollMs = 20;

export interface ListenOptions {
  host: string;
  port: number;
  /** How long a request may take to arrive, and how often that is looked at. Defaults: core/limits. */
  requestTimes?: { headMsMax?: number; msMax?: number; lookMs?: number };
}

export type FetchHandler = (request: Request, ...rest: never[]) => Response | Promise<Response>;

/** @throws AppError invalid_configuration when the address cannot be had */
export async function listen(
  fetch: FetchHandler,
  { host, port, requestTimes = {} }: ListenOptions,
  webSockets?: WebSocketServerLike,
): Promise<Listener> {
  const { headMsMax = requestHeadMsMax, msMax = requestMsMax, lookMs = 5_000 } = requestTimes;
  // Against senders that drip their bytes; how long an answer takes is no matter of this.
  const serverOptions = { headersTimeout: headMsMax, requestTimeout: msMax, connectionsCheckingInterval: lookMs };
  const websocket = webSockets === undefined ? {} : { websocket: { server: webSockets } };
  const server = await new Promise<Server>((resolve, reject) => {
    const starting = serve(
      { fetch: writingStreams(fetch) as never, hostname: host, port, serverOptions, ...websocket },
      () => resolve(starting as Server),
    );
    starting.once("error", (error: NodeJS.ErrnoException) => reject(listenError(error, host, port)));
  });
  const { port: bound } = server.address() as AddressInfo;
  const shown = host.includes(":") ? `[${host}]` : host;
  return {
    address: `http://${shown}:${bound}`,
    refuse: () => void server.close(),
    close: (waitMs) => closeServer(server, waitMs),
  };
}

/** Answers that stream are written here; all others go their way. */
function writingStreams(fetch: FetchHandler) {
  return async (request: Request, bindings: { outgoing: ServerResponse }): Promise<Response> => {
    const response = await fetch(request, bindings as never);
    const source = sourceOf(response);
    if (source === undefined) return response;
    writeAnswer(source, response, bindings.outgoing);
    return RESPONSE_ALREADY_SENT;
  };
}

async function closeServer(server: Server, waitMs: number): Promise<void> {
  const until = performance.now() + waitMs;
  server.close();
  // A connection turns idle when its response is read; clients keep such connections open for as long as they may.
  for (;;) {
    server.closeIdleConnections();
    const open = await new Promise<number>((resolve) =>
      server.getConnections((error, count) => resolve(error ? 0 : count)),
    );
    if (open === 0) return;
    if (performance.now() >= until) return server.closeAllConnections();
    await new Promise((resolve) => setTimeout(resolve, idlePollMs));
  }
}

function listenError(error: NodeJS.ErrnoException, host: string, port: number): AppError {
  const messages: Record<string, string> = {
    EADDRINUSE: `Port ${port} on ${host} is already in use, maybe by another Snug. Stop that program, or set PORT to another number.`,
    EACCES: `Port ${port} needs administrator rights. Set PORT to a number above 1023.`,
    EADDRNOTAVAIL: `This machine does not have the address ${host}. Set SNUG_HOST to 127.0.0.1 or 0.0.0.0.`,
    ENOTFOUND: `The name ${host} is not known. Set SNUG_HOST to an address such as 127.0.0.1.`,
  };
  const message = messages[error.code ?? ""] ?? `The server cannot listen on ${host}:${port} (${error.code}).`;
  return new AppError("invalid_configuration", message, { cause: error });
}
