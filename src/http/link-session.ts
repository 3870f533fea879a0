/**
 * The API's end of the link to one engine that dialled in: a chat engine on the far side of a connection.
 *
 * A connection that is cut ends what was under way at once: answers that had begun with an error event, those that had
 * not with an error that lets a router ask another engine. The engine frees their slots when it sees the cut. Nothing is
 * taken up again: whoever waits learns the truth in milliseconds instead of looking at half an answer.
 */
import { type ChatDelta, type ChatEvent, type ChatRequest, isTerminal } from "../core/chat.ts";
import { AppError, toAppError } from "../core/errors.ts";
import { firstByteMsMax, linkRequestsMax, linkWindowMessages, tokenSilenceMsMax } from "../core/limits.ts";
import type { ChatEngine, ChatTurn, Clock, EngineHealth, EngineOperation, ModelListing } from "../core/ports.ts";
import type { Embeddings, EmbeddingsRequest, Ranking, RerankRequest } from "../core/vectors.ts";
import { cancelled, LinkAnswer } from "./link-answer.ts";
import {
  decodeEngineFrame,
  type EngineFrame,
  encodeFrame,
  type LinkCall,
  type LinkState,
  linkClose,
  linkVersion,
  type RelayFrame,
} from "./link-frames.ts";
import { fromVectorsResult } from "./link-vectors.ts";
import { watchUpstream } from "./upstream-watch.ts";

/** One end of an open connection. Sending over a closed one does nothing. */
export interface LinkSocket {
  send(message: string): void;
  close(code: number, reason: string): void;
}

/** What survives while nothing happens on the link: enough to go on with it from a fresh memory. */
export interface LinkRegistration extends LinkState {
  engine: string;
  instance: string;
  software: string;
}

export interface LinkSessionOptions {
  socket: LinkSocket;
  clock: Clock;
  /** Said by a session before this one on the same connection. */
  registration?: LinkRegistration;
  /** The engine said who it is. What is returned refuses it and closes the connection. */
  onHello?(registration: LinkRegistration): { code: number; reason: string } | undefined;
  onState?(registration: LinkRegistration): void;
  /** Frames an engine may be ahead of an answer's reader; default `linkWindowMessages`. */
  window?: number;
  /** Request to first event, milliseconds. */
  firstByteMsMax?: number;
  /** Longest silence of an answer that has begun, milliseconds. */
  silenceMsMax?: number;
}

export class LinkSession implements ChatEngine {
  readonly #options: LinkSessionOptions;
  readonly #answers = new Map<number, LinkAnswer>();
  readonly #calls = new Map<number, PendingCall>();
  #registration: LinkRegistration | undefined;
  #stateSeq = -1;
  #nextId: number;
  #closed: AppError | undefined;

  constructor(options: LinkSessionOptions) {
    this.#options = options;
    this.#registration = options.registration;
    // Ids of a session before this one on the same connection are not used again.
    this.#nextId = options.clock.now();
  }

  get registration(): LinkRegistration | undefined {
    return this.#registration;
  }

  /** Requests under way. */
  get busy(): number {
    return this.#answers.size + this.#calls.size;
  }

  get closed(): boolean {
    return this.#closed !== undefined;
  }

  /** A message of the engine. Nonsense closes the link. */
  receive(message: string | ArrayBuffer): void {
    if (this.#closed !== undefined) return;
    try {
      if (typeof message !== "string") throw new AppError("invalid_request", "The engine's link carries text only.");
      const frame = decodeEngineFrame(message);
      if (frame !== undefined) this.#take(frame);
    } catch (thrown) {
      this.close(linkClose.protocol, toAppError(thrown).message);
    }
  }

  /** The connection is gone, or has been closed from here. */
  end(reason = "The connection to the engine broke; please try again."): void {
    if (this.#closed !== undefined) return;
    this.#closed = new AppError("engine_unavailable", reason);
    for (const answer of this.#answers.values()) answer.fail(this.#closed);
    for (const call of this.#calls.values()) call.reject(this.#closed);
    this.#answers.clear();
    this.#calls.clear();
  }

  close(code: number, reason: string): void {
    // Close reasons are at most 123 bytes.
    this.#options.socket.close(code, reason.slice(0, 100));
    this.end();
  }

  async models(): Promise<ModelListing[]> {
    if (this.#closed !== undefined) throw this.#closed;
    return this.#registration?.models ?? [];
  }

  async health(): Promise<EngineHealth> {
    const told = this.#registration;
    if (this.#closed !== undefined || told === undefined) {
      const reason = this.#closed?.message ?? "The engine has not said what it is yet.";
      return { state: "stopped", reason, active: 0, queued: 0, slots: 0 };
    }
    // One that takes nothing new is told as full: what it answers goes on.
    if (told.draining) return { ...told.health, state: "stopped", reason: "The engine is finishing its last answers." };
    return told.health;
  }

  embed(request: EmbeddingsRequest, { signal }: { signal: AbortSignal }): Promise<Embeddings> {
    return this.#call({ method: "embed", request }, signal).then(fromVectorsResult);
  }

  rerank(request: RerankRequest, { signal }: { signal: AbortSignal }): Promise<Ranking> {
    return this.#call({ method: "rerank", request }, signal) as Promise<Ranking>;
  }

  operate(operation: EngineOperation): Promise<Record<string, unknown>> {
    const result = this.#call({ method: "operate", request: operation }, new AbortController().signal);
    return result as Promise<Record<string, unknown>>;
  }

  async *chat(request: ChatRequest, { signal, relay }: ChatTurn): AsyncGenerator<ChatEvent, void> {
    if (signal.aborted) return yield cancelled;
    const watch = watchUpstream(signal, this.#options.clock);
    const { silenceMsMax = tokenSilenceMsMax, firstByteMsMax: firstMs = firstByteMsMax } = this.#options;
    const signOfLife = () => watch.expectWithin(silenceMsMax, "The engine fell silent in the middle of its answer.");
    const passOn = (deltas: readonly ChatDelta[]) => {
      if (relay?.take(deltas) !== true) return false;
      signOfLife();
      return true;
    };
    let answer: LinkAnswer;
    try {
      answer = this.#open(request, passOn);
    } catch (thrown) {
      watch.end();
      return yield { type: "error", error: toAppError(thrown).toFacts() };
    }
    const leave = () => answer.leave(watch.expired, signal.aborted);
    watch.signal.addEventListener("abort", leave, { once: true });
    try {
      watch.expectWithin(firstMs, "The engine did not begin to answer in time.");
      for (;;) {
        const events = await answer.next();
        // While the caller holds an event it is not the engine that is slow.
        watch.pause();
        for (const event of events) {
          yield event;
          if (isTerminal(event)) return;
        }
        watch.resume();
        signOfLife();
      }
    } finally {
      watch.signal.removeEventListener("abort", leave);
      watch.end();
      answer.drop();
    }
  }

  #open(request: ChatRequest, passOn: (deltas: readonly ChatDelta[]) => boolean): LinkAnswer {
    const id = this.#begin();
    const { window = linkWindowMessages } = this.#options;
    this.#send({ type: "request", id, seq: 0, request, window });
    const answer = new LinkAnswer(
      id,
      window,
      (frame) => this.#send(frame),
      () => this.#answers.delete(id),
      passOn,
    );
    this.#answers.set(id, answer);
    return answer;
  }

  /** @throws AppError engine_unavailable, engine_overloaded */
  #begin(): number {
    if (this.#closed !== undefined) throw this.#closed;
    if (this.#registration === undefined) {
      throw new AppError("engine_unavailable", "The engine has only just connected; try again shortly.");
    }
    if (this.#registration.draining) {
      throw new AppError("engine_unavailable", "The engine is finishing its last answers; try again later.");
    }
    if (this.busy >= linkRequestsMax) {
      throw new AppError("engine_overloaded", "Too many requests wait for this engine; try again soon.", {
        retryAfterMs: 1000,
      });
    }
    return this.#nextId++;
  }

  #call(call: LinkCall, signal: AbortSignal): Promise<unknown> {
    return new Promise<unknown>((resolve, reject) => {
      if (signal.aborted) throw aborted();
      const id = this.#begin();
      this.#send({ type: "call", id, seq: 0, call });
      const timer = setTimeout(() => leave(slow()), this.#options.firstByteMsMax ?? firstByteMsMax);
      const settle = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", abort);
        this.#calls.delete(id);
      };
      const leave = (error: AppError) => {
        this.#send({ type: "cancel", id, seq: 1 });
        settle();
        reject(error);
      };
      const abort = () => leave(aborted());
      signal.addEventListener("abort", abort, { once: true });
      this.#calls.set(id, {
        resolve: (result) => {
          settle();
          resolve(result);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      });
    });
  }

  #send(frame: RelayFrame): void {
    const message = encodeFrame(frame);
    if (this.#closed === undefined) this.#options.socket.send(message);
  }

  #take(frame: EngineFrame): void {
    if (frame.type !== "hello" && this.#registration === undefined) {
      throw new AppError("invalid_request", "An engine says hello first.");
    }
    // Ends of what nobody waits for any more pass by.
    if (frame.type === "hello") this.#greet(frame);
    else if (frame.type === "state") this.#note(frame);
    else if (frame.type === "answer") this.#answers.get(frame.id)?.take(frame.seq, frame.events);
    else if (frame.type === "result") this.#calls.get(frame.id)?.resolve(frame.result);
    else this.#calls.get(frame.id)?.reject(AppError.fromFacts(frame.error));
  }

  #greet(frame: Extract<EngineFrame, { type: "hello" }>): void {
    // Said twice by a connection that stutters.
    if (this.#registration !== undefined) return;
    if (frame.version !== linkVersion) {
      throw new AppError("invalid_request", `This API speaks version ${linkVersion} of the link.`);
    }
    const { engine, instance, software, health, models, draining, facts } = frame;
    const registration: LinkRegistration = { engine, instance, software, health, models, draining, facts };
    const refusal = this.#options.onHello?.(registration);
    if (refusal !== undefined) {
      this.close(refusal.code, refusal.reason);
      return;
    }
    this.#registration = registration;
    this.#stateSeq = frame.seq;
    this.#send({ type: "welcome", id: 0, seq: 0, version: linkVersion });
    this.#options.onState?.(registration);
  }

  /** Late and doubled states are older than what is known. */
  #note({ seq, health, models, draining, facts }: Extract<EngineFrame, { type: "state" }>): void {
    if (seq <= this.#stateSeq) return;
    this.#stateSeq = seq;
    const known = this.#registration!;
    this.#registration = {
      ...known,
      health: health ?? known.health,
      models: models ?? known.models,
      draining: draining ?? known.draining,
      facts: facts ?? known.facts,
    };
    this.#options.onState?.(this.#registration);
  }
}

interface PendingCall {
  resolve(result: unknown): void;
  reject(error: AppError): void;
}

function aborted(): AppError {
  return new AppError("engine_unavailable", "The request was cancelled before the engine answered.");
}

function slow(): AppError {
  return new AppError("engine_timeout", "The engine did not answer in time.");
}
