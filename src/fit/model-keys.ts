/** Reads hyperparameters by GGUF key from untrusted metadata, with bounds, so that nothing absurd gets past this file. */
import { AppError, type ErrorCode } from "../core/errors.ts";

/** A number that holds for every block, or one per block (MTP blocks last). */
export type PerLayer = number | readonly number[];

/** The value of block `index`. */
export function perLayerAt(value: PerLayer, index: number): number {
  return typeof value === "number" ? value : (value[index] ?? 0);
}

/** The largest value of any block. */
export function perLayerMax(value: PerLayer): number {
  if (typeof value === "number") return value;
  let max = 0;
  for (const one of value) if (one > max) max = one;
  return max;
}

export interface IntegerBounds {
  min?: number;
  max: number;
}

/** Typed look-ups under one architecture's prefix. Every refusal is an `AppError` with the code given. */
export class KeyReader {
  readonly architecture: string;
  readonly #values: Readonly<Record<string, unknown>>;
  readonly #code: ErrorCode;

  constructor(values: Readonly<Record<string, unknown>>, architecture: string, code: ErrorCode) {
    this.#values = values;
    this.architecture = architecture;
    this.#code = code;
  }

  /** The raw value of `<architecture>.<key>`, or of `key` itself for a dotted general key. */
  raw(key: string): unknown {
    const full = `${this.architecture}.${key}`;
    if (Object.hasOwn(this.#values, full)) return this.#values[full];
    return Object.hasOwn(this.#values, key) ? this.#values[key] : undefined;
  }

  has(key: string): boolean {
    return this.raw(key) !== undefined;
  }

  optional(key: string, bounds: IntegerBounds): number | undefined {
    const value = this.raw(key);
    if (value === undefined || value === null) return undefined;
    // A per-layer list where one number is meant (some converters write it so): the largest holds.
    if (Array.isArray(value)) return perLayerMax(this.#list(key, value, value.length, bounds));
    return this.#integer(key, value, bounds);
  }

  integer(key: string, fallback: number, bounds: IntegerBounds): number {
    return this.optional(key, bounds) ?? fallback;
  }

  required(key: string, bounds: IntegerBounds): number {
    const value = this.optional(key, bounds);
    if (value === undefined) this.refuse(`The model's metadata lacks ${this.architecture}.${key}.`);
    return value;
  }

  /** One number or exactly `count` of them. */
  perLayer(key: string, count: number, fallback: PerLayer, bounds: IntegerBounds): PerLayer {
    const value = this.raw(key);
    if (value === undefined || value === null) return fallback;
    if (Array.isArray(value)) return this.#list(key, value, count, bounds);
    return this.#integer(key, value, bounds);
  }

  /** Yes or no for each block; absent when the key is absent or holds a single number. */
  flags(key: string, count: number): readonly boolean[] | undefined {
    const value = this.raw(key);
    if (!Array.isArray(value)) return undefined;
    const numbers = value.map((one) => (typeof one === "boolean" ? Number(one) : one));
    return this.#list(key, numbers, count, { min: 0, max: 1 }).map((one) => one !== 0);
  }

  text(key: string): string | undefined {
    const value = this.raw(key);
    return typeof value === "string" && value !== "" ? value.slice(0, 200) : undefined;
  }

  refuse(message: string): never {
    throw new AppError(this.#code, message);
  }

  #list(key: string, values: readonly unknown[], count: number, bounds: IntegerBounds): number[] {
    // A file whose MTP blocks were cut off still carries one entry per original block, so longer lists are cut.
    if (values.length < count) {
      this.refuse(`${this.architecture}.${key} has ${values.length} entries for ${count} blocks.`);
    }
    return values.slice(0, count).map((one) => this.#integer(key, one, bounds));
  }

  #integer(key: string, value: unknown, { min = 0, max }: IntegerBounds): number {
    const number = typeof value === "bigint" ? Number(value) : value;
    if (typeof number !== "number" || !Number.isInteger(number) || number < min || number > max) {
      const shown = typeof value === "object" ? "a list" : String(value).slice(0, 40);
      this.refuse(`${this.architecture}.${key} is ${shown}; expected a whole number from ${min} to ${max}.`);
    }
    return number;
  }
}
