/**
 * Which tokens go into the next decode step.
 *
 * It waits a few turns until every running stream is there, decodes first, lets prompts fill up what is left under a cap,
 * and puts the step in the order of its sequences: llama.cpp computes neighbours together and starts over wherever the order
 * breaks, so that eight answers in any other order read the model's weights up to eight times. (node-llama-cpp's own strategy
 * leaves one stream out, which has not queued its next token yet, and lets a long prompt freeze every running answer.)
 */

import { nextChunk, type PrefillPace, tileTokens } from "./prefill-chunks.ts";

/** A stream's tokens waiting for evaluation; one token is an answer going on, more are a prompt. */
export interface BatchItem {
  readonly tokens: readonly unknown[];
  readonly sequenceId: number;
}

export interface PlannedItem<Item> {
  item: Item;
  /** Tokens of the item to evaluate in this step. */
  processAmount: number;
}

/** Turns to wait for streams that are on their way; enough for all to requeue, too few for a person to notice. */
const waitTurnsMax = 40;

export class BatchStrategy {
  #active = 0;
  #turnsWaited = 0;
  #decoding = false;
  readonly #pace: Pick<PrefillPace, "tokens">;

  /** @param pace prompt tokens beside running answers in one step */
  constructor(pace: Pick<PrefillPace, "tokens">) {
    this.#pace = pace;
  }

  /** Answers were in the last step, and may be in the next. */
  get decoding(): boolean {
    return this.#decoding;
  }

  /**
   * A stream counts from its first token to evaluate to its last, except while it waits for a slow reader: those that
   * count and are missing hold the step up.
   */
  enter(): void {
    this.#active++;
  }

  leave(): void {
    this.#active--;
    if (this.#active === 0) this.#decoding = false;
  }

  /** @param size tokens a step may have */
  plan<Item extends BatchItem>(items: readonly Item[], size: number): PlannedItem<Item>[] {
    if (items.length < this.#active && this.#turnsWaited < waitTurnsMax) {
      this.#turnsWaited++;
      return [];
    }
    this.#turnsWaited = 0;
    const planned = items
      .filter((item) => item.tokens.length === 1)
      .slice(0, size)
      .map((item) => ({ item, processAmount: 1 }));
    const beside = planned.length > 0;
    this.#decoding = beside;
    // Its first token would be computed with the answers' and leave less than a tile: cheaper in a step of its own.
    const tile = beside && items.find((item) => item.tokens.length === tileTokens);
    if (tile && tileTokens <= size) return [{ item: tile, processAmount: tileTokens }];
    let room = size - planned.length;
    let left = beside ? Math.min(room, this.#pace.tokens + 1) : room;
    let prompts = 0;
    for (const item of items) {
      if (item.tokens.length === 1) continue;
      const processAmount = nextChunk(item.tokens.length, left, beside, prompts === 0 ? room : left);
      // A crumb costs more than it brings; the next step has room for more of it.
      const crumb = processAmount < Math.min(tileTokens, item.tokens.length);
      if (processAmount === 0 || (crumb && prompts > 0)) continue;
      planned.push({ item, processAmount });
      left = Math.max(0, left - processAmount);
      room -= processAmount;
      prompts++;
    }
    return planned.sort((first, second) => first.item.sequenceId - second.item.sequenceId);
  }
}
