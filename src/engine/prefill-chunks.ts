/**
 * In which pieces a prompt is evaluated.
 *
 * llama.cpp's CPU attention computes 64 and more tokens of a sequence as a tile; fewer it takes row by row, each of which
 * costs many times a tile's share: 20 tokens after 1,600 known ones took four times as long as 300 tokens. So no piece is
 * left that small, and a short end takes some of what is known along.
 */
import { prefillChunkTokens } from "../core/limits.ts";

/** A tile, and one more token that may be computed together with other answers' tokens. */
export const tileTokens = 65;

/** With fewer known tokens a row costs next to nothing. */
const knownTokensMin = 256;

/**
 * @param tokens still to be evaluated
 * @param most of them at once
 * @returns how many come next, at most `most`; the rest is none or at least a tile, where both allow it
 */
export function nextChunk(tokens: number, most = prefillChunkTokens): number {
  if (tokens <= most) return tokens;
  // Less than a tile is allowed, so it cannot be helped.
  if (most < tileTokens) return most;
  const short = tileTokens - (tokens - most);
  if (short <= 0) return most;
  return most - short >= tileTokens ? most - short : Math.ceil(tokens / 2);
}

/**
 * @param known tokens that need not be evaluated
 * @param rest tokens that must be
 * @returns how many known ones are better evaluated again
 */
export function tokensToRepeat(known: number, rest: number): number {
  const alone = rest === 1;
  return alone || rest >= tileTokens || known < knownTokensMin ? 0 : tileTokens - rest;
}
