/** WebSockets of links on Node: those this machine opens, and those it is asked to open. */
import { upgradeWebSocket, type WebSocketLike } from "@hono/node-server";
import { WebSocket, WebSocketServer } from "ws";
import type { LinkHub } from "../api/link-hub.ts";
import type { LinkUpgrade } from "../api/link-route.ts";
import { AppError, ERROR_TABLE, type ErrorCode } from "../core/errors.ts";
import { linkHelloMsMax, linkMessageBytesMax } from "../core/limits.ts";
import type { DialledSocket, DialRequest } from "../http/link-dial.ts";
import { linkProtocol } from "../http/link-frames.ts";

/** Text compresses well, but a frame of a few tokens is not worth the time and memory it takes. */
const socketOptions = { maxPayload: linkMessageBytesMax, perMessageDeflate: false } as const;

/** @throws AppError what the API answered instead, or engine_unavailable when it cannot be reached */
export function dialWebSocket({ url, protocol, headers, signal }: DialRequest): Promise<DialledSocket> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, protocol, { ...socketOptions, headers, handshakeTimeout: linkHelloMsMax });
    const leave = () => socket.terminate();
    signal.addEventListener("abort", leave, { once: true });
    const done = () => signal.removeEventListener("abort", leave);
    socket.once("unexpected-response", (_request, response) => {
      done();
      reject(refusalOf(response.statusCode ?? 0, response.headers));
      socket.terminate();
    });
    socket.on("error", (cause) => {
      done();
      reject(new AppError("engine_unavailable", `The API at ${new URL(url).host} cannot be reached.`, { cause }));
    });
    socket.once("close", done);
    socket.once("open", () => resolve(wrap(socket)));
  });
}

function wrap(socket: WebSocket): DialledSocket {
  return {
    send(message) {
      if (socket.readyState === WebSocket.OPEN) socket.send(message);
    },
    close: (code, reason) => socket.close(code, reason),
    terminate: () => socket.terminate(),
    onMessage: (listener) => void socket.on("message", (data) => listener(String(data))),
    onClose(listener) {
      if (socket.readyState === WebSocket.CLOSED) listener(1006, "");
      else socket.once("close", (code, reason) => listener(code, reason.toString()));
    },
  };
}

function refusalOf(status: number, headers: Record<string, string | string[] | undefined>): AppError {
  const told = String(headers["x-snug-error"] ?? "");
  const message = decode(String(headers["x-snug-error-message"] ?? ""));
  if (Object.hasOwn(ERROR_TABLE, told)) return new AppError(told as ErrorCode, message || "The API refused the link.");
  if (status >= 500) return new AppError("engine_unavailable", `The API answered the link with status ${status}.`);
  const text = `The address answers with status ${status} instead of a link; is it that of a Snug API as new as this engine?`;
  return new AppError("invalid_configuration", text);
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text).slice(0, 500);
  } catch {
    return "";
  }
}

/** Upgrades requests of the API's own server; goes into `listen`. */
export function createLinkServer(): WebSocketServer {
  return new WebSocketServer({
    ...socketOptions,
    noServer: true,
    handleProtocols: (offered) => (offered.has(linkProtocol) ? linkProtocol : false),
  });
}

export function createLinkUpgrade(hub: LinkHub): LinkUpgrade {
  return async (context, facts) => {
    const reply = await upgradeWebSocket(() => {
      let connection: ReturnType<LinkHub["accept"]> | undefined;
      return {
        onOpen(_event, { raw }) {
          const socket = raw as WebSocketLike & { close(code: number, reason: string): void };
          connection = hub.accept(
            {
              send(message) {
                if (socket.readyState === WebSocket.OPEN) socket.send(message);
              },
              close: (code, reason) => socket.close(code, reason),
            },
            facts,
          );
        },
        onMessage: ({ data }) => connection?.receive(data as string | ArrayBuffer),
        onClose: () => connection?.closed(),
        // A close follows.
        onError: () => {},
      };
    })(context, async () => {});
    return reply ?? new Response(null, { status: 500 });
  };
}
