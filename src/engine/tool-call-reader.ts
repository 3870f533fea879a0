/** The calls in a model's answer, in the form its chat template gives them. */

/** How this model writes calls. All texts show control tokens by their names. */
export interface CallForm {
  /** What announces calls within an answer. */
  trigger: string;
  /** Text of a first call up to its arguments, the trigger included, by function name. */
  heads: ReadonlyMap<string, string>;
  /** The same for calls after the first. Undefined: one call per answer. */
  laterHeads: ReadonlyMap<string, string> | undefined;
  /** What stands for the arguments of functions without any; the others' arguments are JSON objects. */
  withoutArguments: ReadonlyMap<string, string>;
  /** Text after a call's arguments, by function name. */
  tails: ReadonlyMap<string, string>;
  /** After the last call. */
  end: string;
}

export interface CallPiece {
  type: "tool_call";
  index: number;
  /** With the first piece of a call. */
  name?: string;
  arguments: string;
}

/** Reads on from the trigger. */
export class ToolCallReader {
  readonly #form: CallForm;
  #state: "head" | "arguments" | "tail" = "head";
  #buffer = "";
  #name = "";
  #callCount = 0;
  readonly #object = new ObjectEnd();

  constructor(form: CallForm) {
    this.#form = form;
  }

  /** Calls that are whole. */
  get callCount(): number {
    return this.#callCount;
  }

  /** A function is named. */
  get begun(): boolean {
    return this.#callCount > 0 || this.#state !== "head";
  }

  /** No more calls can follow. */
  get ended(): boolean {
    if (this.#callCount === 0 || this.#state !== "head") return false;
    return this.#form.laterHeads === undefined || !this.#mayBecomeHead(this.#form.laterHeads);
  }

  /** What came is no call after all. */
  get lost(): boolean {
    return !this.begun && !this.#mayBecomeHead(this.#form.heads);
  }

  /** What came and is not told yet. */
  get text(): string {
    return this.#buffer;
  }

  push(text: string): CallPiece[] {
    this.#buffer += text;
    const pieces: CallPiece[] = [];
    while (this.#step(pieces));
    return pieces;
  }

  /** @returns false when more text is needed */
  #step(pieces: CallPiece[]): boolean {
    if (this.#state === "head") return this.#readHead(pieces);
    if (this.#state === "arguments") return this.#readArguments(pieces);
    const tail = this.#form.tails.get(this.#name) ?? "";
    if (this.#buffer.length < tail.length) return false;
    this.#buffer = this.#buffer.slice(tail.length);
    this.#callCount++;
    this.#state = "head";
    return true;
  }

  #readHead(pieces: CallPiece[]): boolean {
    const heads = this.#callCount === 0 ? this.#form.heads : (this.#form.laterHeads ?? new Map<string, string>());
    const found = [...heads].find(([, head]) => this.#buffer.startsWith(head));
    if (found === undefined) return false;
    const [name, head] = found;
    this.#name = name;
    this.#buffer = this.#buffer.slice(head.length);
    this.#state = "arguments";
    this.#object.restart();
    pieces.push({ type: "tool_call", index: this.#callCount, name, arguments: "" });
    return true;
  }

  #readArguments(pieces: CallPiece[]): boolean {
    const empty = this.#form.withoutArguments.get(this.#name);
    const end = empty === undefined ? this.#object.find(this.#buffer) : empty.length;
    if (empty !== undefined && this.#buffer.length < empty.length) return false;
    const written = this.#buffer.slice(0, end);
    this.#buffer = this.#buffer.slice(written.length);
    const shown = empty === undefined ? written : "{}";
    if (shown !== "") pieces.push({ type: "tool_call", index: this.#callCount, arguments: shown });
    if (end === undefined) return false;
    this.#state = "tail";
    return true;
  }

  #mayBecomeHead(heads: ReadonlyMap<string, string>): boolean {
    return [...heads.values()].some((head) => head.startsWith(this.#buffer));
  }
}

/** Finds the end of one JSON object that comes in pieces. */
class ObjectEnd {
  #depth = 0;
  #inText = false;
  #escaped = false;

  restart(): void {
    this.#depth = 0;
    this.#inText = false;
    this.#escaped = false;
  }

  /** @returns the place after the object's last brace, undefined while it is open */
  find(piece: string): number | undefined {
    for (let index = 0; index < piece.length; index++) {
      const character = piece[index];
      if (this.#inText) this.#readInText(character);
      else if (character === '"') this.#inText = true;
      else if (character === "{" || character === "[") this.#depth++;
      else if ((character === "}" || character === "]") && --this.#depth === 0) return index + 1;
    }
    return undefined;
  }

  #readInText(character: string | undefined): void {
    if (this.#escaped) this.#escaped = false;
    else if (character === "\\") this.#escaped = true;
    else if (character === '"') this.#inText = false;
  }
}
