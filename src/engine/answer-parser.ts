/** What a model writes, parted into thoughts, answer and calls. Holds back what may be the beginning of a mark. */
import type { TokenLogprob } from "../core/chat.ts";
import { findFirst, openEnd } from "./text-search.ts";
import { type CallForm, type CallPiece, ToolCallReader } from "./tool-call-reader.ts";

export type AnswerPiece =
  | { type: "text"; text: string; logprobs?: TokenLogprob[] }
  | { type: "reasoning"; text: string }
  | CallPiece;

/** What to look for. All texts show control tokens by their names. */
export interface AnswerMarks {
  /** Where thoughts may begin, before any other text alone, and where they end. */
  thoughts: readonly { open: string; close: string }[];
  /** The prompt ends within a thought that ends here. */
  openThought?: string;
  /** What templates put between thoughts and answer. */
  ignored: readonly string[];
  /** End a turn under the chat template. */
  turnEnds: readonly string[];
  /** The caller's: they end the answer, but mean nothing in thoughts and calls. */
  stops: readonly string[];
  /** Where the model may call functions. */
  calls?: CallForm;
}

type Phase = "beginning" | "reasoning" | "text" | "call" | "ended";

export class AnswerParser {
  /** A grammar rules what is written: turn ends are text then. */
  constrained = false;
  readonly #marks: AnswerMarks;
  #phase: Phase = "beginning";
  #held = "";
  /** Ends the thought being read. */
  #close = "";
  #thoughtShown = false;
  #afterThought = false;
  #calls: ToolCallReader | undefined;

  constructor(marks: AnswerMarks) {
    this.#marks = marks;
    if (marks.openThought !== undefined) this.#openThought(marks.openThought);
  }

  /** "beginning": nothing but white space and thoughts so far. */
  get phase(): Phase {
    return this.#phase;
  }

  /** The answer is whole: whatever the model writes now is no part of it. */
  get ended(): boolean {
    return this.#phase === "ended" || this.#calls?.ended === true;
  }

  get callCount(): number {
    return this.#calls?.callCount ?? 0;
  }

  /** What the model wrote of a call that does not tell its function yet, the trigger included. */
  get callBeginning(): string | undefined {
    return this.#calls?.begun === false ? this.#calls.text : undefined;
  }

  push(text: string): AnswerPiece[] {
    const pieces: AnswerPiece[] = [];
    this.#held += text;
    // A mark begins another phase, which reads on.
    while (this.#held !== "" && this.#read(pieces));
    return pieces;
  }

  /** What was held back, when nothing more comes. */
  end(): AnswerPiece[] {
    const pieces: AnswerPiece[] = [];
    const held = this.#held;
    this.#held = "";
    if (this.#phase === "reasoning") this.#pushThought(pieces, held.trimEnd());
    else if (this.#phase === "call") pushText(pieces, this.callBeginning ?? "");
    else if (this.#phase !== "ended") pushText(pieces, this.#afterThought ? held.trimStart() : held);
    return pieces;
  }

  /** @returns whether another phase has begun */
  #read(pieces: AnswerPiece[]): boolean {
    switch (this.#phase) {
      case "beginning":
        return this.#readBeginning();
      case "reasoning":
        return this.#readThought(pieces);
      case "text":
        return this.#readText(pieces);
      case "call":
        return this.#readCall(pieces);
      case "ended":
        this.#held = "";
        return false;
    }
  }

  #readBeginning(): boolean {
    const { thoughts, ignored, calls, stops } = this.#marks;
    const text = this.#held.trimStart();
    const thought = thoughts.find(({ open }) => text.startsWith(open));
    if (thought !== undefined) {
      this.#held = text.slice(thought.open.length);
      this.#openThought(thought.close);
      return true;
    }
    const ignore = ignored.find((mark) => text.startsWith(mark));
    if (ignore !== undefined) {
      this.#held = text.slice(ignore.length);
      return true;
    }
    const marks = [...thoughts.map(({ open }) => open), ...ignored, ...(calls === undefined ? [] : [calls.trigger])];
    const mayBecomeMark = marks.some((mark) => mark.length > text.length && mark.startsWith(text));
    if (mayBecomeMark && findFirst(this.#held, stops) === undefined) return false;
    if (this.#afterThought || (calls !== undefined && text.startsWith(calls.trigger))) this.#held = text;
    this.#phase = "text";
    return true;
  }

  #openThought(close: string): void {
    this.#phase = "reasoning";
    this.#close = close;
  }

  #readThought(pieces: AnswerPiece[]): boolean {
    const marks = [this.#close, ...this.#marks.turnEnds];
    const found = findFirst(this.#held, marks);
    // White space at the end may be what templates put before the end of a thought.
    const shown = this.#held.slice(0, found?.index ?? this.#held.length - openEnd(this.#held, marks)).trimEnd();
    this.#pushThought(pieces, shown);
    this.#held = this.#held.slice(found === undefined ? shown.length : found.index + found.mark.length);
    if (found === undefined) return false;
    this.#phase = found.mark === this.#close ? "beginning" : "ended";
    this.#afterThought = true;
    return true;
  }

  /** Without the white space that templates put after the beginning of a thought. */
  #pushThought(pieces: AnswerPiece[], thought: string): void {
    const text = this.#thoughtShown ? thought : thought.trimStart();
    if (text === "") return;
    this.#thoughtShown = true;
    pieces.push({ type: "reasoning", text });
  }

  #readText(pieces: AnswerPiece[]): boolean {
    const { stops, turnEnds, calls } = this.#marks;
    const marks = [...stops, ...(this.constrained ? [] : turnEnds), ...(calls === undefined ? [] : [calls.trigger])];
    const found = marks.length === 0 ? undefined : findFirst(this.#held, marks);
    const length = found?.index ?? this.#held.length - openEnd(this.#held, marks);
    pushText(pieces, this.#held.slice(0, length));
    this.#held = this.#held.slice(length);
    if (found === undefined) return false;
    this.#phase = "ended";
    if (calls !== undefined && found.mark === calls.trigger) {
      this.#calls = new ToolCallReader(calls);
      this.#phase = "call";
    }
    return true;
  }

  #readCall(pieces: AnswerPiece[]): boolean {
    const calls = this.#calls!;
    pieces.push(...calls.push(this.#held));
    this.#held = "";
    if (!calls.lost) return false;
    // Only talked about calls. The mark is text, then, and what follows is read as such.
    pushText(pieces, this.#marks.calls!.trigger);
    this.#held = calls.text.slice(this.#marks.calls!.trigger.length);
    this.#calls = undefined;
    this.#phase = "text";
    return true;
  }
}

function pushText(pieces: AnswerPiece[], text: string): void {
  if (text !== "") pieces.push({ type: "text", text });
}
