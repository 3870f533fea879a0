/** Requests waiting for a free engine: bounded, and fair between users however much each of them asks. */
export interface WaitingLine<Place> {
  readonly length: number;
  /** Undefined when the line is full. */
  join(user: string, tryPlace: () => Place | undefined): Waiter<Place> | undefined;
  /** Gives places to those whose turn it is, as long as there are any. */
  pump(): void;
}

export interface Waiter<Place> {
  /** Resolves with the place; stays open after `leave`. */
  turn: Promise<Place>;
  /** Requests served before this one if nobody else comes; 1 is next. */
  position(): number;
  /** Out of the line; true when it still stood in it. */
  leave(): boolean;
}

interface Entry<Place> {
  user: string;
  tryPlace: () => Place | undefined;
  resolve: (place: Place) => void;
}

export function createWaitingLine<Place>(lengthMax: number): WaitingLine<Place> {
  const entries: Entry<Place>[] = [];
  /** When each waiting user was last served, as a count of services. */
  const lastServed = new Map<string, number>();
  let served = 0;

  /** Users take turns; the requests of one keep their order. */
  const inTurn = (): Entry<Place>[] => {
    const rounds = new Map<string, number>();
    const keyed = entries.map((entry, arrival) => {
      const round = rounds.get(entry.user) ?? 0;
      rounds.set(entry.user, round + 1);
      return { entry, round, last: lastServed.get(entry.user) ?? -1, arrival };
    });
    keyed.sort((a, b) => a.round - b.round || a.last - b.last || a.arrival - b.arrival);
    return keyed.map(({ entry }) => entry);
  };

  const remove = (entry: Entry<Place>): boolean => {
    const at = entries.indexOf(entry);
    if (at < 0) return false;
    entries.splice(at, 1);
    if (entries.length === 0) lastServed.clear();
    return true;
  };

  return {
    get length() {
      return entries.length;
    },
    join(user, tryPlace) {
      if (entries.length >= lengthMax) return undefined;
      let resolve: (place: Place) => void = () => {};
      const turn = new Promise<Place>((done) => {
        resolve = done;
      });
      const entry = { user, tryPlace, resolve };
      entries.push(entry);
      return { turn, position: () => inTurn().indexOf(entry) + 1, leave: () => remove(entry) };
    },
    pump() {
      for (let moved = true; moved && entries.length > 0; ) {
        moved = false;
        for (const entry of inTurn()) {
          const place = entry.tryPlace();
          if (place === undefined) continue;
          lastServed.set(entry.user, served++);
          remove(entry);
          entry.resolve(place);
          moved = true;
          break;
        }
      }
    },
  };
}
