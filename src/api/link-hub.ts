/** Engines that dialled in to this process, by name. Each is a chat engine that stays when its connection does not. */
import type { ChatEvent } from "../core/chat.ts";
import { AppError } from "../core/errors.ts";
import { linkSilenceMsMax } from "../core/limits.ts";
import type { ChatEngine, EngineHealth, KeyStore, Logger, Timer } from "../core/ports.ts";
import { linkClose, linkPing, linkPong } from "../http/link-frames.ts";
import { type LinkRegistration, LinkSession, type LinkSocket } from "../http/link-session.ts";
import { keyState } from "./keys.ts";

export interface LinkHubOptions {
  timer: Timer;
  logger: Logger;
  /** An engine was taken in; its state can be read. */
  onLinked?(name: string): void;
  /** It said something new about itself. */
  onState?(registration: LinkRegistration): void;
}

/** A connection as it is taken over from a memory that is gone. */
export interface RestoredLink {
  registration?: LinkRegistration;
  /** When it was last heard of, milliseconds since the epoch, as far as somebody else knows. */
  heardAt?(): number;
}

/** One open connection, driven by whoever holds it. */
export interface LinkConnection {
  receive(message: string | ArrayBuffer): void;
  closed(): void;
}

export interface LinkHub {
  accept(socket: LinkSocket, facts: { name: string; keyId: string }, restored?: RestoredLink): LinkConnection;
  /** The engine of that name, connected or not. */
  engine(name: string): ChatEngine;
  /** Closes the connection of an engine that was removed; it does not dial again by itself. */
  remove(name: string): void;
  /** Closes connections that fell silent, and those whose key is no longer good. */
  tidy(keyStore: Pick<KeyStore, "find">): Promise<void>;
  /** Waits for what engines answer through here, at most so long, and closes their connections. */
  close(waitMs: number): Promise<void>;
}

/** Between two looks whether the last answer has ended. */
const closePollMs = 20;

interface Link {
  session: LinkSession;
  name: string;
  keyId: string;
  heardAt(): number;
}

export function createLinkHub({ timer, logger, onLinked, onState }: LinkHubOptions): LinkHub {
  const open = new Set<Link>();
  const byName = new Map<string, Link>();

  const current = (name: string): LinkSession | undefined => byName.get(name)?.session;

  /** The same process may come back before its old connection is known to be dead; another one may not. */
  const greet = (link: Link, registration: LinkRegistration) => {
    if (registration.engine !== link.name) {
      return { code: linkClose.protocol, reason: "The engine's name is not the one it connected with." };
    }
    const before = byName.get(link.name);
    const alive = before !== undefined && timer.now() - before.heardAt() <= linkSilenceMsMax;
    if (alive && before.session.registration?.instance !== registration.instance) {
      return { code: linkClose.nameTaken, reason: `Another engine is connected as ${link.name}; choose another name.` };
    }
    byName.set(link.name, link);
    before?.session.close(linkClose.replaced, "The engine connected again.");
    return undefined;
  };

  const forget = (link: Link, reason?: string) => {
    open.delete(link);
    link.session.end(reason);
    if (byName.get(link.name) === link) {
      byName.delete(link.name);
      logger.warn("An engine's link ended.", { engine: link.name, ...(reason === undefined ? {} : { reason }) });
    }
  };

  return {
    accept(socket, { name, keyId }, { registration: known, heardAt } = {}) {
      let linked = known !== undefined;
      let messageAt = known === undefined ? timer.now() : 0;
      const session = new LinkSession({
        socket,
        clock: timer,
        ...(known === undefined ? {} : { registration: known }),
        onHello: (registration) => greet(link, registration),
        onState(registration) {
          onState?.(registration);
          if (linked) return;
          linked = true;
          logger.info("An engine is linked.", { engine: name });
          onLinked?.(name);
        },
      });
      const link: Link = { session, name, keyId, heardAt: () => Math.max(messageAt, heardAt?.() ?? 0) };
      open.add(link);
      if (known !== undefined) byName.set(name, link);
      return {
        receive(message) {
          messageAt = timer.now();
          if (message === linkPing) socket.send(linkPong);
          else session.receive(message);
        },
        closed: () => forget(link),
      };
    },
    engine: (name) => createLinkedEngine(name, () => current(name)),
    remove(name) {
      const link = byName.get(name);
      if (link === undefined) return;
      link.session.close(linkClose.removed, "An administrator removed the engine.");
      forget(link, "removed");
    },
    async tidy(keyStore) {
      const now = timer.now();
      for (const link of [...open]) {
        const silent = now - link.heardAt() > linkSilenceMsMax;
        const key = silent ? undefined : await keyStore.find(link.keyId);
        const good = silent || (key !== undefined && keyState(key, now) === "active");
        if (silent) link.session.close(linkClose.silent, "Nothing was heard of the engine for too long.");
        else if (!good) link.session.close(linkClose.key, "The engine's key is no longer good.");
        if (silent || !good) forget(link, silent ? "silence" : "key");
      }
    },
    async close(waitMs) {
      const until = timer.now() + waitMs;
      while (timer.now() < until && [...open].some((link) => link.session.busy > 0)) await timer.wait(closePollMs);
      for (const link of [...open]) {
        link.session.close(linkClose.leaving, "The API is stopping.");
        forget(link, "stop");
      }
    },
  };
}

/** @param current the session of the connection there is now */
export function createLinkedEngine(name: string, current: () => LinkSession | undefined): ChatEngine {
  const away = () =>
    new AppError(
      "engine_unavailable",
      `The engine ${name} is not connected; it dials in by \`snug engine --connect\`.`,
    );
  const session = (): LinkSession => {
    const found = current();
    if (found === undefined) throw away();
    return found;
  };
  return {
    chat(request, options) {
      return current()?.chat(request, options) ?? refuse(options.signal, away());
    },
    models: async () => session().models(),
    health: async () => (await current()?.health()) ?? stopped(away().message),
    embed: async (request, options) => session().embed(request, options),
    rerank: async (request, options) => session().rerank(request, options),
    operate: async (operation) => session().operate(operation),
    facts: async () => current()?.registration?.facts,
  };
}

async function* refuse(signal: AbortSignal, error: AppError): AsyncGenerator<ChatEvent, void> {
  if (signal.aborted) yield { type: "cancelled", usage: {}, timings: {} };
  else yield { type: "error", error: error.toFacts() };
}

function stopped(reason: string): EngineHealth {
  return { state: "stopped", reason, active: 0, queued: 0, slots: 0 };
}
