/**
 * Which free sequence a prompt goes to, and what is moved for it.
 *
 * Three things count. What a sequence already holds need not be computed again. A conversation that is thrown away costs its
 * user a wait. And llama.cpp computes running answers in one pass over the weights only where the numbers of their
 * sequences follow one another: two answers with a gap between them are two passes, which is half the speed.
 */

export interface SequenceState {
  busy: boolean;
  /** Tokens it holds. */
  length: number;
  /** How many of them, from the start, are the prompt's. */
  commonPrefix: number;
  /** Grows with every use; 0 for never. */
  lastUsed: number;
  /** It was last used for another user. */
  foreign?: boolean;
}

export interface Placement {
  /** Where the prompt goes, an index of the states. */
  target: number;
  /** What a sequence holds becomes another's, in this order, before anything else. */
  moves: readonly { from: number; to: number }[];
  /** Of this one's tokens, after the moves, the target gets those that are the prompt's. */
  copyFrom?: number;
}

/**
 * A sequence continues the same conversation when at least half of what it holds is the prompt's beginning; the longest
 * such prefix wins. Not if another user would lose something worth copying: then, and otherwise, the one unused for longest
 * is given up, so that recent conversations keep their state, and a beginning that another one holds too (say, a system
 * prompt) is copied.
 *
 * @param copiedTokensMin fewer are cheaper computed again than copied; undefined where nothing can be copied
 * @returns undefined when no sequence is free
 */
export function placePrompt(states: readonly SequenceState[], copiedTokensMin?: number): Placement | undefined {
  const home = bestHome(states, copiedTokensMin);
  if (home === undefined) return undefined;
  if (copiedTokensMin === undefined) return { target: home, moves: [] };
  const target = nextToOthers(states, home, copiedTokensMin);
  const worthKeeping = states[target]!.length >= copiedTokensMin;
  const continued = continuedPrefix(states[home]!, copiedTokensMin) > 0;
  if (!continued) {
    const moves = target !== home && worthKeeping ? [{ from: target, to: home }] : [];
    const copyFrom = sharedBeginning(states, home, target, copiedTokensMin);
    return { target, moves, ...(copyFrom === undefined ? {} : { copyFrom }) };
  }
  if (target === home) return { target, moves: [] };
  const move = { from: home, to: target };
  if (!worthKeeping) return { target, moves: [move] };
  const spare = bestOf(states, (index) => isFree(states, index) && index !== home && index !== target, isOlder);
  // One conversation would have to go for another's place: the gap is the smaller loss.
  if (spare === undefined) return { target: home, moves: [] };
  return { target, moves: [{ from: target, to: spare }, move] };
}

/**
 * A sliding cache lets go of what the newest token no longer sees. Wound back, a token sees further back again: what it
 * needs must still be there.
 *
 * @param common tokens it shares with the prompt, from the start
 * @param firstCell the oldest token still in the cache
 * @param window tokens that a token looks back on
 * @returns how many of the common tokens may stay; with fewer the sequence is built again from a checkpoint or the start
 */
export function keptOfSlidingCache(
  { common, firstCell }: { common: number; firstCell: number },
  window: number,
): number {
  return Math.max(0, common - window) >= firstCell ? common : Math.max(0, Math.min(common, firstCell));
}

function bestHome(states: readonly SequenceState[], copiedTokensMin: number | undefined): number | undefined {
  return bestOf(
    states,
    (index) => isFree(states, index),
    (candidate, best) => {
      const reused = continuedPrefix(candidate, copiedTokensMin);
      const bestReused = continuedPrefix(best, copiedTokensMin);
      return reused === bestReused ? isOlder(candidate, best) : reused > bestReused;
    },
  );
}

/** The free one that leaves the fewest gaps; if it can be, the one that was chosen anyway, or one with little to move. */
function nextToOthers(states: readonly SequenceState[], home: number, copiedTokensMin: number): number {
  const runs = states.map((_, index) => (isFree(states, index) ? countRuns(states, index) : Number.POSITIVE_INFINITY));
  const fewest = Math.min(...runs);
  if (runs[home] === fewest) return home;
  const isLight = ({ length }: SequenceState) => length < copiedTokensMin;
  const best = bestOf(
    states,
    (index) => runs[index] === fewest,
    (candidate, best) => (isLight(candidate) === isLight(best) ? isOlder(candidate, best) : isLight(candidate)),
  );
  return best ?? home;
}

/** Groups of neighbours among the busy ones, were this one busy too. */
function countRuns(states: readonly SequenceState[], added: number): number {
  const busy = states.map((state, index) => state.busy || index === added);
  return busy.filter((isBusy, index) => isBusy && busy[index - 1] !== true).length;
}

function sharedBeginning(
  states: readonly SequenceState[],
  home: number,
  target: number,
  copiedTokensMin: number,
): number | undefined {
  const own = states[target]!.commonPrefix;
  return bestOf(
    states,
    (index) => index !== home && index !== target && states[index]!.commonPrefix >= own + copiedTokensMin,
    (candidate, best) => candidate.commonPrefix > best.commonPrefix,
  );
}

function bestOf(
  states: readonly SequenceState[],
  isCandidate: (index: number) => boolean,
  isBetter: (candidate: SequenceState, best: SequenceState) => boolean,
): number | undefined {
  let best: number | undefined;
  states.forEach((state, index) => {
    if (isCandidate(index) && (best === undefined || isBetter(state, states[best]!))) best = index;
  });
  return best;
}

function isFree(states: readonly SequenceState[], index: number): boolean {
  return states[index]?.busy === false;
}

function isOlder(candidate: SequenceState, best: SequenceState): boolean {
  return candidate.lastUsed < best.lastUsed;
}

function continuedPrefix(
  { length, commonPrefix, foreign }: SequenceState,
  copiedTokensMin: number | undefined,
): number {
  const lost = length - commonPrefix;
  if (foreign && copiedTokensMin !== undefined && lost >= copiedTokensMin) return 0;
  return lost <= commonPrefix ? commonPrefix : 0;
}
