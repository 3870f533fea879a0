/**
 * A short way for what comes most often. Between an engine and a client's socket lie a router, deadlines, a meter and a
 * wire; waking each of them for every token costs more than the token. They are all woken for what begins, ends or
 * changes an answer, and text in between may go past them, in the same turn of the event loop.
 */
import { type ChatDelta, type ChatEvent, isDelta } from "./chat.ts";

/**
 * Who yields events may give it deltas instead, under two conditions that keep their order: at least one delta of the
 * answer was yielded, and the reader waits for the next event, so that everything before has reached its end.
 */
export interface DeltaRelay {
  /** False: not taken, because the client is behind or gone; yield them. */
  take(deltas: readonly ChatDelta[]): boolean;
}

/** A relay whose end is not known yet; it takes nothing until then. */
export interface OpenRelay extends DeltaRelay {
  end: DeltaRelay | undefined;
}

export function createRelay(): OpenRelay {
  return {
    end: undefined,
    take(deltas) {
      return this.end?.take(deltas) === true;
    },
  };
}

/** The same relay with somebody who sees what it took. */
export function watchRelay(relay: DeltaRelay | undefined, see: (delta: ChatDelta) => void): DeltaRelay | undefined {
  if (relay === undefined) return undefined;
  return {
    take(deltas) {
      if (!relay.take(deltas)) return false;
      for (const delta of deltas) see(delta);
      return true;
    },
  };
}

export function areDeltas(events: readonly ChatEvent[]): events is readonly ChatDelta[] {
  return events.every(isDelta);
}
