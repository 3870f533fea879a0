/** An engine behind a link, both ends in this process, with a wire between them that tests can cut and garble. */
import { randomUUID } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import type { ChatEngine, Timer } from "../../src/core/ports.ts";
import { systemTimer } from "../../src/entries/timer.ts";
import { type LinkServiceOptions, serveLink } from "../../src/http/link-serve.ts";
import { LinkSession, type LinkSessionOptions, type LinkSocket } from "../../src/http/link-session.ts";

/** What happens to a message on the way: it may be dropped, doubled, changed, or kept back. */
export type Garble = (message: string, from: "engine" | "api") => string[];

export interface LinkedPair {
  session: LinkSession;
  /** Both ends see the connection break. */
  cut(): void;
  /** Everything said so far, in order. */
  said: { from: "engine" | "api"; message: string }[];
  closed: { by: "engine" | "api"; code: number; reason: string } | undefined;
  drain(): Promise<void>;
}

export interface PairOptions extends Partial<Omit<LinkServiceOptions, "socket" | "engine">> {
  garble?: Garble;
  session?: Partial<LinkSessionOptions>;
  timer?: Timer;
}

export async function linkInMemory(engine: ChatEngine, options: PairOptions = {}): Promise<LinkedPair> {
  const { garble = (message) => [message], session: sessionOptions, ...service } = options;
  const pair: Omit<LinkedPair, "session" | "drain" | "cut"> = { said: [], closed: undefined };
  let open = true;
  const cut = () => {
    if (!open) return;
    open = false;
    session.end();
    serving.end();
  };
  const socket = (from: "engine" | "api", deliver: (message: string) => void): LinkSocket => ({
    send(message) {
      if (!open) return;
      pair.said.push({ from, message });
      for (const one of garble(message, from)) void setImmediate().then(() => open && deliver(one));
    },
    close(code, reason) {
      if (!open) return;
      pair.closed = { by: from, code, reason };
      void setImmediate().then(cut);
    },
  });
  let greeted = () => {};
  const registered = new Promise<void>((resolve) => {
    greeted = resolve;
  });
  const session = new LinkSession({
    clock: systemTimer,
    ...sessionOptions,
    socket: socket("api", (message) => serving.receive(message)),
    onState(registration) {
      sessionOptions?.onState?.(registration);
      greeted();
    },
  });
  const serving = serveLink({
    name: "home",
    instance: randomUUID(),
    software: "test",
    timer: systemTimer,
    ...service,
    engine,
    socket: socket("engine", (message) => session.receive(message)),
  });
  await registered;
  return Object.assign(pair, { session, cut, drain: () => serving.drain() });
}
