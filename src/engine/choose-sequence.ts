/** Which free sequence a prompt goes to: the one that already holds most of it, without throwing another talk away. */

export interface SequenceState {
  /** Tokens it holds. */
  length: number;
  /** How many of them, from the start, are the prompt's. */
  commonPrefix: number;
  /** Grows with every use; 0 for never. */
  lastUsed: number;
}

/**
 * A sequence continues the same conversation when at least half of what it holds is the prompt's beginning; the longest
 * such prefix wins. Otherwise nothing worth keeping is shared (say, a system prompt), and the one unused for longest is
 * given up, so that recent conversations keep their state.
 *
 * @returns index into `states`, -1 when there is none
 */
export function chooseSequence(states: readonly SequenceState[]): number {
  let best = -1;
  states.forEach((state, index) => {
    if (best === -1 || isBetter(state, states[best]!)) best = index;
  });
  return best;
}

function isBetter(candidate: SequenceState, best: SequenceState): boolean {
  const [reused, bestReused] = [continuedPrefix(candidate), continuedPrefix(best)];
  return reused === bestReused ? candidate.lastUsed < best.lastUsed : reused > bestReused;
}

function continuedPrefix({ length, commonPrefix }: SequenceState): number {
  return commonPrefix * 2 >= length ? commonPrefix : 0;
}
