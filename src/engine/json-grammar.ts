/** JSON as a grammar. What such a grammar lets through, any parser reads. */
import { anyOf, type GrammarRules, list, literal } from "./grammar.ts";

/** Enough room for a line break and its indent; without a bound a model may write spaces for ever. */
const space = '(" " | "\\n" [ \\t]{0,20})?';
const character = '([^"\\\\\\x00-\\x1F\\x7F] | "\\\\" (["\\\\/bfnrt] | "u" [0-9a-fA-F]{4}))';
const natural = '("0" | [1-9] [0-9]{0,14})';
const fraction = '("." [0-9]{1,15})?';
const exponent = "([eE] [-+]? [0-9]{1,2})?";

export class JsonRules {
  readonly rules: GrammarRules;
  #any: string | undefined;

  constructor(rules: GrammarRules) {
    this.rules = rules;
  }

  get space(): string {
    return this.rules.rule(space);
  }

  get comma(): string {
    return this.rules.rule(`"," ${this.space}`);
  }

  string(least = 0, most = Number.POSITIVE_INFINITY): string {
    const char = this.rules.rule(character);
    const count =
      least === 0 && most === Number.POSITIVE_INFINITY
        ? "*"
        : `{${least},${most === Number.POSITIVE_INFINITY ? "" : most}}`;
    return this.rules.rule(most === 0 ? '"\\"\\""' : `"\\"" ${char}${count} "\\""`);
  }

  /** Never "-0". */
  integer(negative = true): string {
    return this.rules.rule(negative ? `"0" | "-"? [1-9] [0-9]{0,14}` : natural);
  }

  number(negative = true): string {
    return this.rules.rule(`${negative ? '"-"? ' : ""}${natural} ${fraction} ${exponent}`);
  }

  boolean(): string {
    return this.rules.rule('"true" | "false"');
  }

  null(): string {
    return this.rules.rule('"null"');
  }

  constant(value: unknown): string {
    return literal(JSON.stringify(value));
  }

  array(item: string, least = 0, most = Number.POSITIVE_INFINITY): string {
    return this.rules.rule(`"[" ${this.space} ${list(item, this.comma, least, most)} ${this.space} "]"`);
  }

  /** An object of any keys. */
  map(value: string, least = 0, most = Number.POSITIVE_INFINITY): string {
    const member = this.rules.rule(`${this.string()} ":" ${this.space} ${value}`);
    return this.rules.rule(`"{" ${this.space} ${list(member, this.comma, least, most)} ${this.space} "}"`);
  }

  /** An object of these keys in this order; optional ones may be missing. */
  object(members: readonly { key: string; value: string; required: boolean }[]): string {
    const written = members.map(({ key, value }) =>
      this.rules.rule(`${literal(JSON.stringify(key))} ":" ${this.space} ${value}`),
    );
    // From the last member to the first: what may follow one that was written, and what may come first.
    let after = '""';
    let first = '""';
    for (const [index, { required }] of [...members.entries()].reverse()) {
      const member = written[index]!;
      first = this.rules.rule(required ? `${member} ${after}` : `${member} ${after} | ${first}`);
      after = this.rules.rule(`(${this.comma} ${member})${required ? "" : "?"} ${after}`);
    }
    return this.rules.rule(`"{" ${this.space} ${first} ${this.space} "}"`);
  }

  any(): string {
    if (this.#any !== undefined) return this.#any;
    this.#any = this.rules.reserve();
    const kinds = [this.anyObject(), this.array(this.#any), this.string(), this.number(), this.boolean(), this.null()];
    this.rules.define(this.#any, anyOf(kinds));
    return this.#any;
  }

  anyObject(): string {
    return this.map(this.any());
  }
}
