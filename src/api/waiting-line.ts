/** Requests waiting for a free engine: a bounded line in fair order. */
import { type Claim, FairOrder, type Place } from "../core/fair-order.ts";

export interface WaitingLine<Found> {
  readonly length: number;
  /** Undefined when the line is full. */
  join(claim: Claim, tryPlace: () => Found | undefined): Waiter<Found> | undefined;
  /** Gives places to those whose turn it is, as long as there are any. */
  pump(): void;
}

export interface Waiter<Found> {
  /** Resolves with the place; stays open after `leave`. */
  turn: Promise<Found>;
  /** Requests served before this one if nobody else comes; 1 is next. */
  position(): number;
  /** Out of the line; true when it still stood in it. */
  leave(): boolean;
}

interface Entry<Found> {
  place: Place;
  tryPlace: () => Found | undefined;
  resolve: (found: Found) => void;
}

export function createWaitingLine<Found>(lengthMax: number): WaitingLine<Found> {
  const fair = new FairOrder();
  /** In order of arrival. */
  const entries: Entry<Found>[] = [];

  const remove = (entry: Entry<Found>): boolean => {
    const at = entries.indexOf(entry);
    if (at >= 0) entries.splice(at, 1);
    return at >= 0;
  };

  return {
    get length() {
      return entries.length;
    },
    join(claim, tryPlace) {
      if (entries.length >= lengthMax) return undefined;
      let resolve: (found: Found) => void = () => {};
      const turn = new Promise<Found>((done) => {
        resolve = done;
      });
      const entry = { place: fair.arrive(claim), tryPlace, resolve };
      entries.push(entry);
      return {
        turn,
        position: () => fair.order(entries).indexOf(entry) + 1,
        leave() {
          const stood = remove(entry);
          if (stood) fair.leave(entry.place);
          return stood;
        },
      };
    },
    pump() {
      for (let moved = true; moved && entries.length > 0; ) {
        moved = false;
        // Who is first may want a model whose engines are all busy; another one's may be free.
        for (const entry of fair.order(entries)) {
          const found = entry.tryPlace();
          if (found === undefined) continue;
          remove(entry);
          fair.serve(entry.place);
          entry.resolve(found);
          moved = true;
          break;
        }
      }
    },
  };
}
