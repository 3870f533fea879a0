/** Leaving out the beginning of a conversation that is too long, for those who ask for it. */
import type { ChatMessage } from "../core/chat.ts";

/**
 * Leaves out as few of the oldest turns as it takes. Instructions at the beginning and the newest turn always stay; a
 * turn begins with what a user says, so that calls keep their results.
 *
 * @param fits whether these messages are short enough; asked a few times only, as it costs a rendering
 * @returns undefined when even the newest turn is too long
 */
export function leaveOutOldest<Fit>(
  messages: readonly ChatMessage[],
  fits: (messages: ChatMessage[]) => Fit | undefined,
): Fit | undefined {
  const search = searchTurns<Fit>(messages);
  let step = search.next();
  while (!step.done) step = search.next(fits(step.value));
  return step.value;
}

/** The same for counting that takes its time. */
export async function leaveOutOldestLater<Fit>(
  messages: readonly ChatMessage[],
  fits: (messages: ChatMessage[]) => Promise<Fit | undefined>,
): Promise<Fit | undefined> {
  const search = searchTurns<Fit>(messages);
  let step = search.next();
  while (!step.done) step = search.next(await fits(step.value));
  return step.value;
}

/** Yields messages to try and is told whether they fit. */
function* searchTurns<Fit>(
  messages: readonly ChatMessage[],
): Generator<ChatMessage[], Fit | undefined, Fit | undefined> {
  const first = messages.findIndex(({ role }) => role !== "system");
  const instructions = messages.slice(0, Math.max(0, first));
  const starts = messages.flatMap(({ role }, index) => (index >= first && role === "user" ? [index] : []));
  // What stands before the first thing a user says is the oldest turn.
  if (starts[0] !== first) starts.unshift(first);
  const from = (turn: number) => [...instructions, ...messages.slice(starts[turn])];

  let [low, high] = [0, starts.length - 1];
  let best = yield from(high);
  if (best === undefined) return undefined;
  // The first turn from which all fits lies in [low, high], and `best` is what fits from `high`.
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const fit: Fit | undefined = yield from(middle);
    if (fit === undefined) low = middle + 1;
    else [high, best] = [middle, fit];
  }
  return best;
}
