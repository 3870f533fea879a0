/** The sequences of a context: who answers in which, and what each still holds of earlier talks. */
import type { LlamaContextSequence, Token } from "node-llama-cpp";
import { keptOfSlidingCache, type Placement, placePrompt } from "./choose-sequence.ts";
import type { LoadedModel } from "./ipc.ts";
import type { BoundSequence } from "./llama-binding.ts";
import { tileTokens, tokensToRepeat } from "./prefill-chunks.ts";

interface Slot {
  bound: BoundSequence;
  lastUsed: number;
  userId: string | undefined;
  busy: boolean;
}

export interface SlotOptions {
  /** A short end of a prompt is evaluated with known tokens before it: see prefill-chunks.ts. */
  repeats: boolean;
  /** Tokens that a token looks back on in some of the layers; undefined where on all in each. */
  slidingWindow: number | undefined;
  /** Fewer tokens are computed again rather than copied from another sequence; undefined where none can be. */
  copiedTokensMin: number | undefined;
}

export class SequenceSlots {
  readonly #slots: readonly Slot[];
  readonly #options: SlotOptions;
  #uses = 0;

  constructor(sequences: readonly BoundSequence[], options: SlotOptions) {
    this.#slots = sequences.map((bound) => ({ bound, lastUsed: 0, userId: undefined, busy: false }));
    this.#options = options;
  }

  get sequences(): readonly BoundSequence[] {
    return this.#slots.map(({ bound }) => bound);
  }

  /**
   * A sequence that holds of the prompt what can be had without computing, and nothing else. Between two steps only.
   *
   * @param userId whose prompt it is
   * @param beside other answers are in the steps
   * @returns undefined when all are busy
   */
  async take(tokens: Token[], userId: string | undefined, beside: boolean): Promise<BoundSequence | undefined> {
    const states = this.#slots.map(({ bound, lastUsed, busy, userId: lastUser }) => ({
      busy,
      foreign: userId !== lastUser,
      length: bound.length,
      commonPrefix: bound.sequence.compareContextTokens(tokens).firstDifferentIndex,
      lastUsed,
    }));
    const placement = placePrompt(states, this.#options.copiedTokensMin);
    if (placement === undefined) return undefined;
    const slot = this.#slots[placement.target]!;
    try {
      await this.#rearrange(placement, states[placement.copyFrom ?? -1]?.commonPrefix ?? 0);
      await this.#fit(slot.bound, tokens, beside);
    } catch (reason) {
      // What it holds is unknown now; it must not serve as a prefix.
      await slot.bound.sequence.clearHistory();
      throw reason;
    }
    slot.busy = true;
    slot.lastUsed = ++this.#uses;
    slot.userId = userId;
    return slot.bound;
  }

  release(bound: BoundSequence): void {
    const slot = this.#slots.find((one) => one.bound === bound);
    if (slot !== undefined) slot.busy = false;
  }

  async #rearrange({ target, moves, copyFrom }: Placement, copiedTokens: number): Promise<void> {
    for (const move of moves) {
      const [from, to] = [this.#slots[move.from]!, this.#slots[move.to]!];
      await to.bound.copyFrom(from.bound, from.bound.length);
      to.lastUsed = from.lastUsed;
      to.userId = from.userId;
      if (move.from === target) continue;
      await from.bound.sequence.clearHistory();
      from.lastUsed = 0;
    }
    if (copyFrom !== undefined) await this.#slots[target]!.bound.copyFrom(this.#slots[copyFrom]!.bound, copiedTokens);
  }

  /** The library winds back to any token that is still in a sliding cache, though the window before it may not be. */
  #usable(sequence: LlamaContextSequence, wanted: Token[]): number {
    const { slidingWindow } = this.#options;
    if (slidingWindow === undefined) return wanted.length;
    const common = sequence.compareContextTokens(wanted).firstDifferentIndex;
    if (common === sequence.nextTokenIndex) return wanted.length;
    return keptOfSlidingCache({ common, firstCell: sequence.stateCellsStartIndex }, slidingWindow);
  }

  async #fit({ sequence }: BoundSequence, tokens: readonly Token[], beside: boolean): Promise<void> {
    // At least the last token is evaluated again: its logits choose the first word.
    const wanted = tokens.slice(0, -1);
    await sequence.adaptStateToTokens(wanted.slice(0, this.#usable(sequence, wanted)), false);
    if (!this.#options.repeats) return;
    const known = sequence.nextTokenIndex;
    const repeated = tokensToRepeat(known, tokens.length - known, beside);
    if (repeated > 0) await sequence.eraseContextTokenRanges([{ start: known - repeated, end: known }]);
  }
}

/** What is copied in main memory at most, bytes: everybody waits for it. */
const hostCopyBytesMax = 1024 ** 3;

/**
 * llama.cpp copies all room of a sequence, whatever is in it, so a long context needs more to make it pay: a token's place
 * in the cache is copied hundreds of times faster than the token is computed.
 */
export function copiedTokensMin({ memory, sequenceCount, contextLength }: LoadedModel): number | undefined {
  if (sequenceCount < 2 || memory === undefined) return undefined;
  if (memory.context.hostBytes / sequenceCount > hostCopyBytesMax) return undefined;
  return Math.max(tileTokens, Math.ceil(contextLength / 256));
}
