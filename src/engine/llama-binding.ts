/**
 * What node-llama-cpp keeps to itself and steps are made of: the native context, its samplers, and which tokens a sequence
 * holds. The version is pinned, and each part is looked at when a model is loaded, so that a change shows there and in every
 * test rather than in an answer. Why: docs/decisions/2026-11-20-steps-of-our-own.md.
 */
import type { LlamaContext, LlamaContextSequence, LlamaModel, SequenceEvaluateOptions, Token } from "node-llama-cpp";

/** llama.cpp's context. One batch at a time; nothing else may touch the context while one is decoded. */
export interface NativeContext {
  initBatch(tokens: number): void;
  /** @returns places of the asked logits in the batch */
  addToBatch(sequence: number, firstPosition: number, tokens: Uint32Array, withLogits: Uint32Array): Uint32Array;
  decodeBatch(): Promise<void>;
  /** -1 where nothing could be drawn. The pairs are token, probability, …, likeliest first. */
  sampleToken(place: number, sampler: NativeSampler): Promise<number>;
  sampleToken(place: number, sampler: NativeSampler, probabilities: true): Promise<[token: number, pairs?: number[]]>;
}

export interface NativeSampler {
  applyConfig(config: object): void;
  dispose(): void;
}

interface InnerSequence {
  _sequenceId: number;
  _contextTokens: Token[];
  _nextTokenIndex: number;
  _takeIntervalCheckpointIfNeeded(): Promise<void> | undefined;
  /** False when it did not work out; what the sequence holds is unknown then. */
  _copyStateFromOtherSequence(other: LlamaContextSequence, upToTokenIndex: number): Promise<boolean>;
  _resolveSamplerConfig(options: SequenceEvaluateOptions): object;
}

type SamplerClass = new (model: object) => NativeSampler;

export function nativeContextOf(context: LlamaContext): NativeContext {
  const { _ctx } = reveal<{ _ctx: object }>(context, { _ctx: "object" });
  const names = { initBatch: "function", addToBatch: "function", decodeBatch: "function", sampleToken: "function" };
  return reveal<NativeContext>(_ctx, names);
}

/** A sequence of the library's: it winds back and keeps checkpoints, steps go forward. */
export class BoundSequence {
  readonly sequence: LlamaContextSequence;
  readonly #inner: InnerSequence;
  readonly #model: object;
  readonly #samplerClass: SamplerClass;

  constructor(sequence: LlamaContextSequence, model: LlamaModel) {
    this.sequence = sequence;
    this.#inner = reveal<InnerSequence>(sequence, {
      _sequenceId: "number",
      _contextTokens: "object",
      _nextTokenIndex: "number",
      _takeIntervalCheckpointIfNeeded: "function",
      _copyStateFromOtherSequence: "function",
      _resolveSamplerConfig: "function",
    });
    const { _llama, _model } = reveal<{ _llama: object; _model: object }>(model, {
      _llama: "object",
      _model: "object",
    });
    this.#model = _model;
    const { _bindings } = reveal<{ _bindings: object }>(_llama, { _bindings: "object" });
    this.#samplerClass = reveal<{ AddonSampler: SamplerClass }>(_bindings, { AddonSampler: "function" }).AddonSampler;
  }

  /** By which llama.cpp knows it: 0 to the number of sequences. */
  get id(): number {
    return this.#inner._sequenceId;
  }

  /** Tokens that are in the cache, and so the position of the next. */
  get length(): number {
    return this.#inner._nextTokenIndex;
  }

  /** Tells of tokens that were decoded at its end. */
  extend(tokens: readonly Token[]): void {
    for (const token of tokens) this.#inner._contextTokens.push(token);
    this.#inner._nextTokenIndex += tokens.length;
  }

  /** Holds the first tokens of another from now on, and nothing else. Between two steps only. */
  async copyFrom({ sequence }: BoundSequence, tokens: number): Promise<void> {
    // The library notes the tokens before it copies: where that fails, they must not be taken for computed.
    const copied = await this.#inner._copyStateFromOtherSequence(sequence, tokens).catch(() => false);
    if (!copied) await this.sequence.clearHistory();
  }

  /** For models that cannot wind back: a copy of the state now and then. To be waited for before the next step. */
  keepCheckpoint(): Promise<void> | undefined {
    return this.#inner._takeIntervalCheckpointIfNeeded();
  }

  createSampler(): NativeSampler {
    return new this.#samplerClass(this.#model);
  }

  /** The library's reading of its own options, defaults included. */
  samplerConfig(options: SequenceEvaluateOptions): object {
    return this.#inner._resolveSamplerConfig(options);
  }
}

/** @throws Error when a part is missing or of another kind */
function reveal<Inner extends object>(owner: object, kinds: Record<keyof Inner & string, string>): Inner {
  for (const [name, kind] of Object.entries<string>(kinds)) {
    const value: unknown = Reflect.get(owner, name);
    if (value === null || typeof value !== kind) {
      const where = owner.constructor.name;
      throw new Error(`node-llama-cpp has no ${kind} ${where}.${name}: install the version package.json names`);
    }
  }
  return owner as Inner;
}
