/** Keeps an engine linked to an API: dials, serves, and dials again when the connection is gone. */
import { AppError, toAppError } from "../core/errors.ts";
import {
  linkHelloMsMax,
  linkPingMs,
  linkPongMsMax,
  linkRefusedRetryMs,
  linkRetryMsFirst,
  linkRetryMsMax,
} from "../core/limits.ts";
import type { ChatEngine, LinkFacts, Logger, Timer } from "../core/ports.ts";
import { linkClose, linkPing, linkPong, linkProtocol } from "./link-frames.ts";
import { type LinkService, serveLink } from "./link-serve.ts";
import type { LinkSocket } from "./link-session.ts";

/** An open connection as the dialling side holds it. */
export interface DialledSocket extends LinkSocket {
  onMessage(listener: (message: string) => void): void;
  /** Once, also for a connection that broke. */
  onClose(listener: (code: number, reason: string) => void): void;
  /** Does not wait for the other end. */
  terminate(): void;
}

export interface DialRequest {
  /** With the engine's name in its query. */
  url: string;
  protocol: string;
  headers: Record<string, string>;
  signal: AbortSignal;
}

export interface LinkDialOptions {
  /** Of the API: "wss://snug.example.workers.dev"; `/v1/link` is added where it has no path. */
  url: string;
  /** Secret of a key with the scope "engine". */
  token: string;
  engine: ChatEngine;
  name: string;
  instance: string;
  software: string;
  facts?: () => LinkFacts;
  /**
   * Opens the connection.
   *
   * @throws AppError of what the API answered instead, or engine_unavailable when it cannot be reached
   */
  dial(request: DialRequest): Promise<DialledSocket>;
  timer: Timer;
  logger: Logger;
  /** 0 to 1, to spread the retries of many engines after a cut. */
  random: () => number;
  onLinked?(): void;
  flushMs?: number;
}

export interface LinkDial {
  /** Resolves when the API has taken the engine in for the first time. */
  readonly linked: Promise<void>;
  readonly state: "connecting" | "linked" | "stopped";
  /** Ends answers within `drainMs`, then the connection. */
  stop(options?: { drainMs?: number }): Promise<void>;
}

/** @throws AppError invalid_configuration for an address that is none */
export function dialLink(options: LinkDialOptions): LinkDial {
  const { timer, logger } = options;
  const url = linkUrl(options.url, options.name);
  const shown = new URL(url).host;
  const stopping = new AbortController();
  let state: LinkDial["state"] = "connecting";
  let service: LinkService | undefined;
  let socket: DialledSocket | undefined;
  let announce = () => {};
  const linked = new Promise<void>((resolve) => {
    announce = resolve;
  });

  /** One connection from dialling to its end. Returns whether it was good for anything. */
  const connect = async (): Promise<boolean> => {
    const opened = await options.dial({
      url,
      protocol: linkProtocol,
      headers: { authorization: `Bearer ${options.token}` },
      signal: stopping.signal,
    });
    socket = opened;
    let welcomed = false;
    let heardAt = timer.now();
    const ended = new AbortController();
    const serving = serveLink({
      ...options,
      socket: opened,
      onWelcome() {
        welcomed = true;
        state = "linked";
        logger.info("Linked to the API.", { api: shown, engine: options.name });
        options.onLinked?.();
        announce();
      },
    });
    service = serving;
    opened.onMessage((message) => {
      heardAt = timer.now();
      if (message !== linkPong) serving.receive(message);
    });
    const closed = new Promise<{ code: number; reason: string }>((resolve) =>
      opened.onClose((code, reason) => resolve({ code, reason })),
    );
    void keepAlive(
      opened,
      () => heardAt,
      () => welcomed,
      ended.signal,
    );
    const { code, reason } = await closed;
    ended.abort();
    serving.end();
    service = undefined;
    socket = undefined;
    if (stopping.signal.aborted) return welcomed;
    if (code === linkClose.removed) {
      logger.error("An administrator removed this engine; start it again to bring it back.", { api: shown });
      stopping.abort();
      state = "stopped";
      return welcomed;
    }
    state = "connecting";
    if (code === linkClose.key || code === linkClose.nameTaken || code === linkClose.protocol) {
      throw new AppError("invalid_configuration", reason || "The API closed the link.");
    }
    logger.warn("The link to the API was cut.", { api: shown, code, reason });
    return welcomed;
  };

  const keepAlive = async (
    opened: DialledSocket,
    heardAt: () => number,
    welcomed: () => boolean,
    signal: AbortSignal,
  ): Promise<void> => {
    await timer.wait(linkHelloMsMax, signal);
    if (!welcomed()) opened.terminate();
    while (!signal.aborted) {
      await timer.wait(linkPingMs, signal);
      if (signal.aborted) return;
      const askedAt = timer.now();
      opened.send(linkPing);
      await timer.wait(linkPongMsMax, signal);
      if (!signal.aborted && heardAt() < askedAt) opened.terminate();
    }
  };

  const run = async () => {
    let failures = 0;
    while (!stopping.signal.aborted) {
      let waitMs: number;
      try {
        failures = (await connect()) ? 0 : failures + 1;
        waitMs = Math.min(linkRetryMsMax, linkRetryMsFirst * 2 ** Math.min(failures, 20));
      } catch (thrown) {
        if (stopping.signal.aborted) return;
        const error = toAppError(thrown);
        failures++;
        const forPeople = error.code !== "engine_unavailable";
        waitMs = forPeople
          ? linkRefusedRetryMs
          : Math.min(linkRetryMsMax, linkRetryMsFirst * 2 ** Math.min(failures, 20));
        const facts = { api: shown, reason: error.message, retryInMs: Math.round(waitMs) };
        if (forPeople) logger.error("The API does not take this engine in.", facts);
        else if (failures === 1) logger.warn("The API cannot be reached.", facts);
      }
      // Half of it by chance, so that a thousand engines do not come back in the same moment.
      await timer.wait(waitMs * (0.5 + options.random() / 2), stopping.signal);
    }
  };
  const running = run();

  return {
    linked,
    get state() {
      return state;
    },
    async stop({ drainMs = 0 } = {}) {
      const drained = service?.drain();
      if (drained !== undefined && drainMs > 0) await Promise.race([drained, timer.wait(drainMs)]);
      stopping.abort();
      state = "stopped";
      socket?.close(linkClose.leaving, "The engine is stopping.");
      // An API that does not answer the close must not hold the engine up.
      await Promise.race([running, timer.wait(closeMsMax)]);
      socket?.terminate();
      await running;
    },
  };
}

const closeMsMax = 500;

/** @throws AppError invalid_configuration */
export function linkUrl(text: string, name: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  // What people have at hand is the API's address.
  const protocol = { "https:": "wss:", "http:": "ws:", "wss:": "wss:", "ws:": "ws:" }[url?.protocol ?? ""];
  if (url === undefined || protocol === undefined || url.username !== "" || url.password !== "") {
    throw new AppError(
      "invalid_configuration",
      `${text.slice(0, 200)} is no address of an API; write wss://host, or ws://host:port for one in your own network.`,
    );
  }
  url.protocol = protocol;
  if (/^\/(?:v1\/?)?$/.test(url.pathname)) url.pathname = "/v1/link";
  url.searchParams.set("engine", name);
  return url.href;
}
