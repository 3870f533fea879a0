/**
 * In which pieces a prompt is evaluated.
 *
 * llama.cpp's CPU attention computes 64 and more tokens of a sequence as tiles of 64, the last one filled up with nothing;
 * fewer it takes row by row, each of which costs many times a tile's share. So pieces are whole tiles where they can be,
 * none is left that is smaller than one, and a short end takes some of what is known along.
 */
import { prefillChunkTokens, prefillStepMsMax } from "../core/limits.ts";

/** Tokens that attention on the CPU computes together. */
export const tileTokens = 64;

/** With fewer known tokens a row costs next to nothing. */
const knownTokensMin = 256;

/** Weight of the newest step in the running mean. */
const newestWeight = 0.5;

/** Fewest tokens in a step with others, and alone. */
export interface PaceFloor {
  beside: number;
  alone: number;
}

/** One tile costs no more per token than many. */
export const cpuFloor: PaceFloor = { beside: tileTokens, alone: tileTokens };

/** A step may begin with sending weights to the GPU, which costs the same however few tokens follow. */
export const gpuFloor: PaceFloor = { beside: 2 * tileTokens, alone: prefillChunkTokens };

/**
 * How many prompt tokens a step may have, so that a cancel and other answers do not wait long for it: whole tiles, following
 * how fast steps have been.
 */
export class PrefillPace {
  readonly #tokensMax: number;
  readonly #floor: PaceFloor;
  readonly #stepMsMax: number;
  #msPerToken: number | undefined;

  /** @param tokensMax what a step can hold */
  constructor(tokensMax: number, floor: PaceFloor, stepMsMax = prefillStepMsMax) {
    this.#tokensMax = tokensMax;
    this.#floor = floor;
    this.#stepMsMax = stepMsMax;
  }

  /** Beside running answers. Begins with the fewest: nothing is known yet, and one step tells. */
  get tokens(): number {
    return this.#atLeast(this.#floor.beside);
  }

  get tokensAlone(): number {
    return this.#atLeast(this.#floor.alone);
  }

  #atLeast(floor: number): number {
    const tiles = this.#msPerToken === undefined ? 0 : Math.floor(this.#stepMsMax / this.#msPerToken / tileTokens);
    return Math.max(1, Math.min(this.#tokensMax, Math.max(floor, tiles * tileTokens)));
  }

  /** @param ms what so many tokens of a prompt took, with all that was in the same steps */
  note(tokens: number, ms: number): void {
    const newest = ms / tokens;
    const mean = this.#msPerToken ?? newest;
    this.#msPerToken = mean + (newest - mean) * newestWeight;
  }
}

/**
 * @param tokens still to be evaluated
 * @param most of them at once
 * @param beside the tokens of other answers are in the step: one of the prompt's is computed with them, the rest after
 * @param room a few more than `most` where a rest is no tile
 * @returns how many come next; the rest is none or at least a tile, where both allow it
 */
export function nextChunk(tokens: number, most: number, beside = false, room = most): number {
  if (tokens <= most) return tokens;
  const extra = beside ? 1 : 0;
  const tiles = Math.floor((most - extra) / tileTokens);
  // Less than a tile is allowed, so it cannot be helped.
  if (tiles < 1) return most;
  const whole = tiles * tileTokens + extra;
  if (tokens - whole >= tileTokens + extra) return whole;
  if (tiles > 1) return whole - tileTokens;
  return tokens <= room ? tokens : Math.ceil(tokens / 2);
}

/**
 * @param known tokens that need not be evaluated
 * @param rest tokens that must be
 * @param beside see `nextChunk`
 * @returns how many known ones are better evaluated again
 */
export function tokensToRepeat(known: number, rest: number, beside = false): number {
  const alone = rest === 1;
  const tile = tileTokens + (beside ? 1 : 0);
  return alone || rest >= tile || known < knownTokensMin ? 0 : tile - rest;
}
