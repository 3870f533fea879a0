/**
 * A chat engine that follows a script, for tests of whatever stands in front of an engine. It keeps every promise of
 * the `ChatEngine` port (the contract suite runs on it) and never waits on its own: a `hold` step waits until the test
 * releases it, so tests own time.
 */
import { setImmediate } from "node:timers/promises";
import type {
  ChatDelta,
  ChatEvent,
  ChatRequest,
  FinishReason,
  TerminalChatEvent,
  TokenLogprob,
} from "../../src/core/chat.ts";
import { AppError } from "../../src/core/errors.ts";
import type { ChatEngine, Clock, EngineHealth, ModelListing } from "../../src/core/ports.ts";

export type FakeStep =
  /** One token of the answer. */
  | { text: string; logprobs?: TokenLogprob[] }
  /** A thought, or a piece of a call. */
  | { piece: Exclude<ChatDelta, { type: "text" }> }
  /** Waits until `release(hold)` was called, or for good. An abort ends the wait. */
  | { hold: string }
  /** Ends the answer with this error; as the first step it comes before `start`. */
  | { error: AppError };

export interface FakeEngineOptions {
  /** Default: one model "fake" with a context of 64 tokens; a word counts as a token. */
  models?: ModelListing[];
  /** Requests answered at once; more wait in line. Default 2. */
  slots?: number;
  /** Requests that may wait; beyond it they are refused. Default 64. */
  queueMax?: number;
  /** What to answer. Default: `sayWords("Hello from the fake engine.")`. */
  script?: (request: ChatRequest) => Iterable<FakeStep>;
  clock?: Clock;
}

/** A script that says a text word by word. */
export function sayWords(text: string): () => FakeStep[] {
  return () => [...text.matchAll(/\s*\S+/g)].map((word) => ({ text: word[0] }));
}

/** A script that never ends; only a model with room for it shows that. */
export function* sayForever(): Generator<FakeStep> {
  for (;;) yield { text: "again " };
}

interface Running {
  request: ChatRequest;
  signal: AbortSignal;
  acceptedAt: number;
  startedAt?: number;
  firstTokenAt?: number;
  promptTokens: number;
  completionTokens: number;
  reasoningTokens: number;
}

export class FakeEngine implements ChatEngine {
  /** Every request that came in, oldest first. */
  readonly requests: ChatRequest[] = [];
  /** Answers that ended with `cancelled` or were left early. */
  cancelledCount = 0;
  /** Set to anything but "ready" to make chats fail with engine_unavailable. */
  state: EngineHealth["state"] = "ready";
  script: (request: ChatRequest) => Iterable<FakeStep>;

  readonly #models: ModelListing[];
  readonly #slots: number;
  readonly #queueMax: number;
  readonly #clock: Clock;
  #active = 0;
  readonly #waiting: (() => void)[] = [];
  readonly #gates = new Map<string, Gate>();

  constructor(options: FakeEngineOptions = {}) {
    this.#models = options.models ?? [{ id: "fake", quantization: "F16", contextLength: 64, loaded: true }];
    this.#slots = options.slots ?? 2;
    this.#queueMax = options.queueMax ?? 64;
    this.script = options.script ?? sayWords("Hello from the fake engine.");
    this.#clock = options.clock ?? { now: () => Date.now() };
  }

  /** Lets every request at this hold go on, those that come later too. */
  release(hold: string): void {
    this.#gate(hold).open();
  }

  /** Resolves once a request stands at this hold. */
  reached(hold: string): Promise<void> {
    return this.#gate(hold).reached;
  }

  async models(): Promise<ModelListing[]> {
    return this.#models;
  }

  async health(): Promise<EngineHealth> {
    return { state: this.state, active: this.#active, queued: this.#waiting.length, slots: this.#slots };
  }

  async *chat(request: ChatRequest, { signal }: { signal: AbortSignal }): AsyncGenerator<ChatEvent, void, undefined> {
    this.requests.push(request);
    const running: Running = {
      request,
      signal,
      acceptedAt: this.#clock.now(),
      promptTokens: request.messages.reduce(
        (sum, message) => sum + countWords(message.content),
        countWords(request.prompt ?? ""),
      ),
      completionTokens: 0,
      reasoningTokens: 0,
    };
    const refusal = this.#refusal(running);
    if (refusal !== undefined) {
      yield this.#failed(running, refusal);
      return;
    }
    if (this.#active < this.#slots) {
      this.#active++;
    } else {
      yield { type: "queued", position: this.#waiting.length + 1 };
      if (!(await this.#slotFree(signal))) {
        yield this.#cancelled(running);
        return;
      }
    }
    let ended = false;
    try {
      for await (const event of this.#answer(running)) {
        ended = event.type === "finish" || event.type === "cancelled" || event.type === "error";
        // The slot is free before the consumer sees the end.
        if (ended) this.#freeSlot();
        yield event;
      }
    } finally {
      if (!ended) {
        this.cancelledCount++;
        this.#freeSlot();
      }
    }
  }

  async *#answer(running: Running): AsyncGenerator<ChatEvent, void, undefined> {
    const { request, signal } = running;
    const contextLength = this.#model(request)?.contextLength ?? Number.POSITIVE_INFINITY;
    const tokensMax = Math.min(request.maxTokens ?? Number.POSITIVE_INFINITY, contextLength - running.promptTokens);
    const stops = new StopTexts(request.stop ?? []);
    running.startedAt = this.#clock.now();
    if (signal.aborted) return yield this.#cancelled(running);
    let started = false;
    let called = false;
    for (const step of this.script(request)) {
      // One turn of the event loop per step, so that an endless script starves nobody.
      await setImmediate();
      if ("hold" in step) await this.#gate(step.hold).pass(signal);
      if (signal.aborted) return yield this.#cancelled(running);
      if ("error" in step) return yield this.#failed(running, step.error);
      if (!started) {
        started = true;
        yield { type: "start", producer: this.#producer(request), promptTokens: running.promptTokens };
      }
      if ("piece" in step) {
        running.completionTokens++;
        running.firstTokenAt ??= this.#clock.now();
        if (step.piece.type === "reasoning") running.reasoningTokens++;
        called ||= step.piece.type === "tool_call";
        yield step.piece;
      }
      if (!("text" in step)) continue;
      if (running.completionTokens >= tokensMax) {
        if (stops.rest() !== "") yield { type: "text", text: stops.rest() };
        return yield this.#finished(running, "length");
      }
      running.completionTokens++;
      running.firstTokenAt ??= this.#clock.now();
      const { text, stopped } = stops.push(step.text);
      const logprobs = request.logprobs === undefined ? undefined : step.logprobs;
      if (text !== "") yield { type: "text", text, ...(logprobs === undefined ? {} : { logprobs }) };
      if (stopped) return yield this.#finished(running, "stop");
    }
    if (!started) yield { type: "start", producer: this.#producer(request), promptTokens: running.promptTokens };
    if (stops.rest() !== "") yield { type: "text", text: stops.rest() };
    yield this.#finished(running, called ? "tool_calls" : "stop");
  }

  #refusal(running: Running): AppError | undefined {
    const { request, promptTokens } = running;
    if (this.state !== "ready")
      return new AppError("engine_unavailable", `The engine is ${this.state}; try again later.`);
    const model = this.#model(request);
    if (model === undefined) {
      const known = this.#models.map((entry) => entry.id).join(", ");
      return new AppError("model_not_found", `There is no such model; this engine has: ${known}.`, { param: "model" });
    }
    if (model.contextLength !== undefined && promptTokens >= model.contextLength) {
      const details = { promptTokens, contextLength: model.contextLength };
      return new AppError("context_length_exceeded", "The messages are longer than the context.", { details });
    }
    if (this.#active >= this.#slots && this.#waiting.length >= this.#queueMax) {
      return new AppError("engine_overloaded", "Too many requests are waiting.", { retryAfterMs: 1000 });
    }
    return undefined;
  }

  /** False when the signal ended the wait. */
  #slotFree(signal: AbortSignal): Promise<boolean> {
    return new Promise((resolve) => {
      const enter = () => {
        signal.removeEventListener("abort", leave);
        resolve(true);
      };
      const leave = () => {
        const index = this.#waiting.indexOf(enter);
        if (index >= 0) this.#waiting.splice(index, 1);
        resolve(false);
      };
      this.#waiting.push(enter);
      if (signal.aborted) leave();
      else signal.addEventListener("abort", leave, { once: true });
    });
  }

  /** A waiting request takes the slot over, so that none that comes between can. */
  #freeSlot(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#active--;
    else next();
  }

  #gate(name: string): Gate {
    const gate = this.#gates.get(name) ?? new Gate();
    this.#gates.set(name, gate);
    return gate;
  }

  #model(request: ChatRequest): ModelListing | undefined {
    return this.#models.find((model) => model.id === request.model);
  }

  #producer(request: ChatRequest) {
    const model = this.#model(request)!;
    return {
      engineId: "fake",
      model: model.id,
      ...(model.quantization === undefined ? {} : { quantization: model.quantization }),
      ...(model.contextLength === undefined ? {} : { contextLength: model.contextLength }),
    };
  }

  #finished(running: Running, finishReason: FinishReason): TerminalChatEvent {
    return { type: "finish", finishReason, ...this.#account(running) };
  }

  #cancelled(running: Running): TerminalChatEvent {
    this.cancelledCount++;
    return { type: "cancelled", ...this.#account(running) };
  }

  #failed(running: Running, error: AppError): TerminalChatEvent {
    return { type: "error", error: error.toFacts(), ...this.#account(running) };
  }

  #account({ promptTokens, completionTokens, reasoningTokens, acceptedAt, startedAt, firstTokenAt }: Running) {
    const thought = reasoningTokens === 0 ? {} : { reasoningTokens };
    return {
      usage: { promptTokens, completionTokens, cachedPromptTokens: 0, ...thought },
      timings: {
        ...(startedAt === undefined ? {} : { queueMs: startedAt - acceptedAt }),
        ...(firstTokenAt === undefined ? {} : { timeToFirstTokenMs: firstTokenAt - acceptedAt }),
        totalMs: this.#clock.now() - acceptedAt,
      },
    };
  }
}

/** A point in a script where requests wait until the test opens it. */
class Gate {
  readonly reached: Promise<void>;
  readonly #opened: Promise<void>;
  open!: () => void;
  #announce!: () => void;

  constructor() {
    this.#opened = new Promise((resolve) => {
      this.open = resolve;
    });
    this.reached = new Promise((resolve) => {
      this.#announce = resolve;
    });
  }

  async pass(signal: AbortSignal): Promise<void> {
    this.#announce();
    if (signal.aborted) return;
    let stop: () => void = () => {};
    const aborted = new Promise<void>((resolve) => {
      stop = resolve;
      signal.addEventListener("abort", stop, { once: true });
    });
    await Promise.race([this.#opened, aborted]);
    signal.removeEventListener("abort", stop);
  }
}

/** Keeps back text that may turn out to be the beginning of a stop text. */
class StopTexts {
  readonly #stops: readonly string[];
  #held = "";

  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  push(text: string): { text: string; stopped: boolean } {
    this.#held += text;
    const found = this.#stops.map((stop) => this.#held.indexOf(stop)).filter((index) => index >= 0);
    if (found.length > 0) {
      const released = this.#held.slice(0, Math.min(...found));
      this.#held = "";
      return { text: released, stopped: true };
    }
    const keep = Math.max(0, ...this.#stops.map((stop) => stop.length - 1));
    const released = this.#held.slice(0, Math.max(0, this.#held.length - keep));
    this.#held = this.#held.slice(released.length);
    return { text: released, stopped: false };
  }

  rest(): string {
    return this.#held;
  }
}

function countWords(text: string): number {
  return text.match(/\S+/g)?.length ?? 0;
}
