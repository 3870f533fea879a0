/** Grammars in llama.cpp's notation (GBNF): named rules, written once. */

export class GrammarRules {
  readonly #bodies = new Map<string, string>();
  readonly #names = new Map<string, string>();
  #number = 0;

  /** The rule of this body; the same body is written once. */
  rule(body: string): string {
    const known = this.#names.get(body);
    if (known !== undefined) return known;
    const name = this.reserve();
    this.define(name, body);
    this.#names.set(body, name);
    return name;
  }

  /** A name to be defined later: for rules that mention themselves. */
  reserve(): string {
    return `r${this.#number++}`;
  }

  define(name: string, body: string): void {
    this.#bodies.set(name, body);
  }

  /** @param root body of the rule to start with */
  write(root: string): string {
    return [`root ::= ${root}`, ...[...this.#bodies].map(([name, body]) => `${name} ::= ${body}`)].join("\n");
  }
}

/** Matches exactly this text. */
export function literal(text: string): string {
  const escaped = [...text].map((character) => {
    const code = character.codePointAt(0)!;
    if (character === '"' || character === "\\") return `\\${character}`;
    if (character === "\n") return "\\n";
    return code < 0x20 || code === 0x7f ? `\\x${code.toString(16).padStart(2, "0")}` : character;
  });
  return `"${escaped.join("")}"`;
}

export function anyOf(alternatives: readonly string[]): string {
  return alternatives.length === 1 ? alternatives[0]! : `(${alternatives.join(" | ")})`;
}

/** `item` with `separator` between, from `least` to `most` times. Both should be rule names: they are repeated. */
export function list(item: string, separator: string, least: number, most: number): string {
  if (most === 0) return '""';
  const more = `(${separator} ${item}){${Math.max(0, least - 1)},${most === Number.POSITIVE_INFINITY ? "" : most - 1}}`;
  const filled = most === 1 ? item : `${item} ${more}`;
  return least === 0 ? `(${filled})?` : filled;
}
