/** The engine's end of a link: what the API asks over one open connection is answered by the engine behind it. */
import { type ChatEvent, type ChatRequest, isDelta, isTerminal, joinDeltas } from "../core/chat.ts";
import { AppError, toAppError } from "../core/errors.ts";
import { linkFlushMs, linkFlushTokens, linkRequestsMax, linkStateLookMs } from "../core/limits.ts";
import type { ChatEngine, LinkFacts, Timer } from "../core/ports.ts";
import {
  decodeRelayFrame,
  type EngineFrame,
  encodeFrame,
  type LinkCall,
  type LinkState,
  linkClose,
  linkVersion,
  type RelayFrame,
} from "./link-frames.ts";
import type { LinkSocket } from "./link-session.ts";
import { toVectorsResult } from "./link-vectors.ts";

export interface LinkServiceOptions {
  engine: ChatEngine;
  socket: LinkSocket;
  /** The engine's name behind this API. */
  name: string;
  /** Of this process, so that its second connection is told from another engine of the same name. */
  instance: string;
  software: string;
  /** What to tell of the machine. */
  facts?: () => LinkFacts;
  timer: Timer;
  /** The API took the engine in. */
  onWelcome?(): void;
  flushMs?: number;
}

export interface LinkService {
  receive(message: string): void;
  /** Takes nothing new from now on; resolves when what is under way has ended. */
  drain(): Promise<void>;
  /** The connection is gone: frees everything that was under way. */
  end(): void;
}

interface Work {
  abort: AbortController;
  /** Frames the other end has taken, as far as it said. */
  taken: number;
  onCredit: () => void;
}

export function serveLink(options: LinkServiceOptions): LinkService {
  const { engine, socket, timer } = options;
  const work = new Map<number, Work>();
  const recent = new Set<number>();
  const ended = new AbortController();
  let draining = false;
  let drained = () => {};
  let seq = 0;
  let told = "";

  const send = (frame: EngineFrame) => {
    if (!ended.signal.aborted) socket.send(encodeFrame(frame));
  };

  const state = async (): Promise<LinkState> => ({
    // A remote engine behind this one may be slow to tell; what was known holds until then.
    health: await engine.health(),
    models: await engine.models().catch(() => []),
    draining,
    facts: options.facts?.() ?? {},
  });

  const greet = async () => {
    const { name, instance, software } = options;
    const first = await state();
    told = JSON.stringify(first);
    send({ type: "hello", id: 0, seq: seq++, version: linkVersion, engine: name, instance, software, ...first });
    while (!ended.signal.aborted) {
      await timer.wait(linkStateLookMs, ended.signal);
      await tellState();
    }
  };

  const tellState = async () => {
    const now = await state();
    const text = JSON.stringify(now);
    if (text === told || ended.signal.aborted) return;
    const before = JSON.parse(told) as LinkState;
    told = text;
    const changed = Object.entries(now).filter(
      ([name, value]) => JSON.stringify(value) !== JSON.stringify(before[name as keyof LinkState]),
    );
    send({ type: "state", id: 0, seq: seq++, ...Object.fromEntries(changed) });
  };

  /** What others see of the load is right by the time they see what changed it; a slow engine is not waited for. */
  const tellStateSoon = () => Promise.race([tellState(), timer.wait(tellMsMax)]);

  const take = (frame: RelayFrame): void => {
    if (frame.type === "welcome") options.onWelcome?.();
    else if (frame.type === "cancel") work.get(frame.id)?.abort.abort();
    else if (frame.type === "credit") credit(work.get(frame.id), frame.taken);
    else if (frame.type === "request") begin(frame.id, (one) => answer(frame.id, frame.request, frame.window, one));
    else begin(frame.id, (one) => call(frame.id, frame.call, one));
  };

  /** A request that is said again is not answered again. */
  const begin = (id: number, run: (one: Work) => Promise<void>) => {
    if (recent.has(id)) return;
    recent.add(id);
    if (recent.size > recentMax) recent.delete(recent.values().next().value!);
    const one: Work = { abort: new AbortController(), taken: 0, onCredit: () => {} };
    work.set(id, one);
    void run(one).finally(() => {
      work.delete(id);
      if (work.size === 0) drained();
    });
  };

  const answer = async (id: number, request: ChatRequest, window: number, one: Work): Promise<void> => {
    const writer = createWriter({
      flushMs: options.flushMs ?? linkFlushMs,
      timer,
      send: (events, number) => send({ type: "answer", id, seq: number, events }),
    });
    let spoken = false;
    try {
      if (draining) throw new AppError("engine_unavailable", "The engine is finishing its last answers.");
      if (work.size > linkRequestsMax) throw new AppError("engine_overloaded", "Too many requests are waiting.");
      for await (const event of engine.chat(request, { signal: one.abort.signal })) {
        if (!isDelta(event) || !spoken) await tellStateSoon();
        spoken = isDelta(event);
        writer.write(event);
        if (isTerminal(event)) return;
        while (writer.sent - one.taken >= window && !one.abort.signal.aborted) await nextCredit(one);
      }
      throw new AppError("internal", "The engine stopped without ending its answer.");
    } catch (thrown) {
      writer.write({ type: "error", error: toAppError(thrown).toFacts() });
    } finally {
      writer.end();
    }
  };

  const call = async (id: number, asked: LinkCall, one: Work): Promise<void> => {
    try {
      send({ type: "result", id, seq: 0, result: await runCall(engine, asked, one.abort.signal) });
    } catch (thrown) {
      send({ type: "failure", id, seq: 0, error: toAppError(thrown).toFacts() });
    }
  };

  void greet().catch(() => socket.close(linkClose.leaving, "The engine cannot tell its state."));

  return {
    receive(message) {
      if (ended.signal.aborted) return;
      try {
        const frame = decodeRelayFrame(message);
        if (frame !== undefined) take(frame);
      } catch (thrown) {
        socket.close(linkClose.protocol, toAppError(thrown).message.slice(0, 100));
      }
    },
    async drain() {
      draining = true;
      await tellState().catch(() => {});
      if (work.size === 0) return;
      await new Promise<void>((resolve) => {
        drained = resolve;
      });
    },
    end() {
      ended.abort();
      for (const one of work.values()) one.abort.abort();
    },
  };
}

/** Requests remembered against being answered twice. */
const recentMax = 1000;

/** Longest wait for the engine's state before an event goes out without it. */
const tellMsMax = 20;

function credit(one: Work | undefined, taken: number): void {
  if (one === undefined || taken <= one.taken) return;
  one.taken = taken;
  one.onCredit();
}

function nextCredit(one: Work): Promise<void> {
  return new Promise((resolve) => {
    one.onCredit = resolve;
    one.abort.signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

function runCall(engine: ChatEngine, { method, request }: LinkCall, signal: AbortSignal): Promise<unknown> {
  const missing = (): never => {
    throw new AppError("model_not_found", "This engine only chats.", { param: "model" });
  };
  if (method === "embed") return engine.embed?.(request, { signal }).then(toVectorsResult) ?? missing();
  if (method === "rerank") return engine.rerank?.(request, { signal }) ?? missing();
  return engine.operate?.(request) ?? missing();
}

interface WriterOptions {
  flushMs: number;
  timer: Timer;
  send(events: ChatEvent[], seq: number): void;
}

/** Gathers an answer's tokens: the first goes out at once, later ones a few together. */
function createWriter({ flushMs, timer, send }: WriterOptions) {
  const ended = new AbortController();
  let events: ChatEvent[] = [];
  let tokens = 0;
  let sent = 0;
  let spoken = false;
  let waiting = false;

  const flush = () => {
    if (events.length === 0) return;
    const gathered = events;
    events = [];
    tokens = 0;
    send(gathered, sent++);
  };

  return {
    get sent() {
      return sent;
    },
    write(event: ChatEvent): void {
      const joined = events.length === 0 ? undefined : joinDeltas(events.at(-1)!, event);
      if (joined === undefined) events.push(event);
      else events.splice(-1, 1, joined);
      const first = isDelta(event) && !spoken;
      if (isDelta(event)) {
        spoken = true;
        tokens += event.tokenCount ?? 1;
      }
      // Its beginning goes with the first token.
      if (event.type === "start") flushLater();
      else if (first || !isDelta(event) || tokens >= linkFlushTokens) flush();
      else flushLater();
    },
    end: () => ended.abort(),
  };

  function flushLater(): void {
    if (waiting) return;
    waiting = true;
    void timer.wait(flushMs, ended.signal).then(() => {
      waiting = false;
      if (!ended.signal.aborted) flush();
    });
  }
}
