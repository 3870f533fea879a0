/** Small things kept between an event and one that follows it: a form's target, the question behind an answer. */

export interface Keep {
  /** @param value plain data */
  put(key: string, value: unknown): Promise<void>;
  /** Undefined once it was forgotten. */
  get(key: string): Promise<unknown>;
}

/** In memory alone; the oldest go first. */
export class MemoryKeep implements Keep {
  readonly #values = new Map<string, unknown>();
  readonly #countMax: number;

  constructor(countMax: number) {
    this.#countMax = countMax;
  }

  async put(key: string, value: unknown): Promise<void> {
    this.#values.delete(key);
    this.#values.set(key, value);
    const oldest = this.#values.keys().next().value;
    if (this.#values.size > this.#countMax && oldest !== undefined) this.#values.delete(oldest);
  }

  async get(key: string): Promise<unknown> {
    return this.#values.get(key);
  }
}
