/** One chat on its way through the engine: what is known of it, what it has cost, and what its reader is told. */
import { randomUUID } from "node:crypto";
import type { ChatDelta, ChatEvent, ChatRequest, Producer, TerminalChatEvent, Timings, Usage } from "../core/chat.ts";
import type { DeltaRelay } from "../core/delta-relay.ts";
import type { AppError } from "../core/errors.ts";
import type { Clock } from "../core/ports.ts";
import type { AnswerPiece } from "./answer-parser.ts";
import { EventChannel } from "./event-channel.ts";
import type { AnswerEnd } from "./ipc.ts";
import type { Ticket } from "./scheduler.ts";

export interface ChatJobOptions {
  id: number;
  request: ChatRequest;
  clock: Clock;
  /** Events the reader may be behind before `onFull`. */
  eventsMax: number;
  onFull(): void;
  onDrained(): void;
  relay?: DeltaRelay | undefined;
}

export class ChatJob {
  readonly id: number;
  readonly request: ChatRequest;
  /** "running" until the child has let go of it, even when its reader is gone. */
  phase: "waiting" | "running" | "ended" = "waiting";
  /** The reader wants no more. */
  aborted = false;
  /** The reader is behind and the child was told to pause. */
  paused = false;
  ticket: Ticket | undefined;
  /** Another answer ran at the same time, or the reader made the child wait. */
  disturbed = false;
  readonly #channel: EventChannel;
  readonly #clock: Clock;
  readonly #acceptedAt: number;
  #closed = false;
  #place: Extract<ChatEvent, { type: "queued" }> | undefined;
  #promptTokens: number | undefined;
  #cachedPromptTokens: number | undefined;
  #completionTokens = 0;
  #reasoningTokens = 0;
  /** Tokens whose text has not shown yet: parts of a character, or the beginning of a stop text. */
  #tokensUnseen = 0;
  /** The child has begun to answer. */
  begun = false;
  /** The child was told of it and has not replied yet. */
  unacknowledged = false;
  /** Children that died with it in hand before they had said a word of it. */
  #losses = 0;
  #runAt: number | undefined;
  #firstTokenAt: number | undefined;
  #signAt = performance.now();

  constructor(options: ChatJobOptions) {
    this.id = options.id;
    this.request = options.request;
    this.#clock = options.clock;
    this.#acceptedAt = options.clock.now();
    this.#channel = new EventChannel({
      eventsMax: options.eventsMax,
      relay: options.relay,
      onFull: () => {
        this.paused = true;
        this.disturbed = true;
        this.#signAt = performance.now();
        options.onFull();
      },
      onDrained: () => {
        this.paused = false;
        this.#signAt = performance.now();
        options.onDrained();
      },
    });
  }

  events(): AsyncGenerator<ChatEvent, void, undefined> {
    return this.#channel.read();
  }

  /** Its rate is the model's own: nothing else ran, nobody paused it, and no grammar looked at every token. */
  get undisturbed(): boolean {
    const { responseFormat, tools } = this.request;
    return !this.disturbed && responseFormat === undefined && (tools?.length ?? 0) === 0;
  }

  /** The reader has had its terminal event. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Milliseconds since the child, or while paused the reader, last gave a sign. */
  get silenceMs(): number {
    return performance.now() - this.#signAt;
  }

  moved(position: number, estimatedWaitMs?: number): void {
    this.#place = { type: "queued", position, ...(estimatedWaitMs === undefined ? {} : { estimatedWaitMs }) };
  }

  /** Tells the reader its place. Not before the prompt is counted, if it can be: a refusal should come first. */
  announcePlace(): void {
    if (this.phase === "waiting" && this.#place !== undefined) this.#channel.push(this.#place);
    this.#place = undefined;
  }

  get counted(): boolean {
    return this.#promptTokens !== undefined;
  }

  admitted(promptTokens: number): void {
    this.unacknowledged = this.phase === "running";
    this.#promptTokens = promptTokens;
  }

  run(): void {
    this.phase = "running";
    this.unacknowledged = true;
    this.#runAt = this.#clock.now();
    this.sign();
  }

  /**
   * The child died before it began this chat. True when another child may try: the chat may just have come at the wrong
   * moment. Twice is no accident, it may be what kills them.
   */
  mayTryAgain(): boolean {
    if (this.unacknowledged) this.#losses++;
    this.unacknowledged = false;
    return this.#losses < 2;
  }

  /** Back into the line. */
  wait(): void {
    this.phase = "waiting";
    this.ticket?.leave();
    this.ticket = undefined;
  }

  started(cachedPromptTokens: number, producer: Producer): void {
    this.sign();
    this.begun = true;
    this.unacknowledged = false;
    this.#cachedPromptTokens = cachedPromptTokens;
    const promptTokens = this.#promptTokens;
    this.#channel.push({
      type: "start",
      producer,
      cachedPromptTokens,
      ...(promptTokens === undefined ? {} : { promptTokens }),
    });
  }

  /** The child works on it. */
  sign(): void {
    this.#signAt = performance.now();
  }

  wrote(tokenCount: number, piece: AnswerPiece | undefined): void {
    // A paused reader's silence is its own; tokens already under way are no sign of it.
    if (!this.paused) this.sign();
    this.#firstTokenAt ??= this.#clock.now();
    this.#completionTokens += tokenCount;
    this.#tokensUnseen += tokenCount;
    if (piece?.type === "reasoning") this.#reasoningTokens += tokenCount;
    if (piece === undefined) return;
    const shown = this.#tokensUnseen;
    this.#tokensUnseen = 0;
    this.#channel.push(deltaOf(piece, shown === 1 ? {} : { tokenCount: shown }));
  }

  /** What the child says at the end. */
  ended({ end, usage, timings }: AnswerEnd): void {
    this.#close({ ...end, usage, timings: { ...this.#timings(), ...timings } });
  }

  cancelled(): void {
    this.#close({ type: "cancelled", usage: this.#usage(), timings: this.#timings() });
  }

  failed(error: AppError): void {
    this.#close({ type: "error", error: error.toFacts(), usage: this.#usage(), timings: this.#timings() });
  }

  #close(event: TerminalChatEvent): void {
    this.#closed = true;
    this.#channel.push(event);
  }

  #usage(): Usage {
    return {
      ...(this.#promptTokens === undefined ? {} : { promptTokens: this.#promptTokens }),
      completionTokens: this.#completionTokens,
      ...(this.#cachedPromptTokens === undefined ? {} : { cachedPromptTokens: this.#cachedPromptTokens }),
      ...(this.#reasoningTokens === 0 ? {} : { reasoningTokens: this.#reasoningTokens }),
    };
  }

  #timings(): Timings {
    const since = (at: number) => Math.max(0, at - this.#acceptedAt);
    return {
      ...(this.#runAt === undefined ? {} : { queueMs: since(this.#runAt) }),
      ...(this.#firstTokenAt === undefined ? {} : { timeToFirstTokenMs: since(this.#firstTokenAt) }),
      totalMs: since(this.#clock.now()),
    };
  }
}

/** A call's id is made up here: models do not name their calls. */
function deltaOf(piece: AnswerPiece, tokens: { tokenCount?: number }): ChatDelta {
  if (piece.type !== "tool_call") return { ...piece, ...tokens };
  return piece.name === undefined ? { ...piece, ...tokens } : { ...piece, id: `call_${randomUUID()}`, ...tokens };
}
