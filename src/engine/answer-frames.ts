/** Gathers the pieces of all answers into few IPC messages: one per token and answer would cost more than the tokens. */
import type { AnswerPiece } from "./answer-parser.ts";
import type { AnswerFrame } from "./ipc.ts";

export class AnswerFrames {
  readonly #send: (frames: AnswerFrame[]) => void;
  readonly #flushMs: number;
  readonly #begun = new Set<number>();
  #frames: AnswerFrame[] = [];
  /** The newest frame of each answer. */
  #newest = new Map<number, AnswerFrame>();
  #timer: NodeJS.Timeout | undefined;

  /** @param flushMs longest time a token waits for company */
  constructor(send: (frames: AnswerFrame[]) => void, flushMs: number) {
    this.#send = send;
    this.#flushMs = flushMs;
  }

  /**
   * One token, or several, and what they showed. The first of an answer goes out at once: somebody is waiting for a sign.
   */
  add(id: number, pieces: readonly AnswerPiece[], tokenCount = 1): void {
    if (pieces.length === 0) this.#join(id, tokenCount);
    for (const [index, piece] of pieces.entries()) this.#join(id, index === 0 ? tokenCount : 0, piece);
    if (!this.#begun.has(id)) {
      this.#begun.add(id);
      this.flush();
      return;
    }
    this.#timer ??= setTimeout(() => this.flush(), this.#flushMs);
  }

  /** Sends what there is, before a message that must not overtake it. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#frames.length === 0) return;
    const frames = this.#frames;
    this.#frames = [];
    this.#newest = new Map();
    this.#send(frames);
  }

  /** Flushes, and forgets that the answer had begun. */
  end(id: number): void {
    this.flush();
    this.#begun.delete(id);
  }

  #join(id: number, tokenCount: number, piece?: AnswerPiece): void {
    const newest = this.#newest.get(id);
    const joined = newest === undefined ? undefined : joinPieces(newest[2], piece);
    if (newest === undefined || joined === undefined) {
      const frame: AnswerFrame = piece === undefined ? [id, tokenCount] : [id, tokenCount, piece];
      this.#frames.push(frame);
      this.#newest.set(id, frame);
      return;
    }
    newest[1] += tokenCount;
    if (joined.piece !== undefined) newest[2] = joined.piece;
  }
}

/** Undefined when the two cannot be one. */
function joinPieces(first?: AnswerPiece, second?: AnswerPiece): { piece: AnswerPiece | undefined } | undefined {
  if (first === undefined || second === undefined) return { piece: first ?? second };
  if (first.type === "tool_call" || second.type === "tool_call") {
    if (first.type !== second.type || !("index" in first) || !("index" in second)) return undefined;
    if (first.index !== second.index) return undefined;
    return { piece: { ...first, arguments: first.arguments + second.arguments } };
  }
  const text = first.text + second.text;
  if (first.type === "reasoning")
    return second.type === "reasoning" ? { piece: { type: "reasoning", text } } : undefined;
  if (second.type !== "text") return undefined;
  const logprobs = [...(first.logprobs ?? []), ...(second.logprobs ?? [])];
  return { piece: { type: "text", text, ...(logprobs.length === 0 ? {} : { logprobs }) } };
}
