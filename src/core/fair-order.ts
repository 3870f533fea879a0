/**
 * Who is next where keys, and users behind them, share something: start-time fair queueing (Goyal, Vin and Cheng 1996)
 * on two levels, with a cost of 1 per answer.
 *
 * Virtual time is the start tag of the last request served. A request's start tag is the virtual time at its arrival, or
 * the end of its key's last one if that is later; the smallest tag goes next. A key's requests last the longer the less
 * its weight, so a key of weight 2 gets two turns to another's one. Within a key its users take turns in the same way.
 * So fifty requests of one user delay another's by no more than what is already running.
 *
 * A lead is taken off the tag: short interactive requests go ahead of others that came a little earlier, batch requests
 * step back. Both are bounded, for virtual time passes with every service: each unit of lead lets at most 16 later
 * requests pass. That also keeps an endless stream of newcomers from starving everybody's second request.
 */

export interface Claim {
  /** Requests without a key share one turn, as do a key's requests without a user. */
  keyId?: string | undefined;
  /** 0.1 to 10; left out: 1. */
  weight?: number | undefined;
  userId?: string | undefined;
  /** Turns by which it may go ahead; negative: steps back. Left out: 0. */
  lead?: number | undefined;
}

/** A request that waits; made by `arrive`. */
export interface Place {
  readonly key: string;
  readonly cost: number;
  readonly user: string;
  readonly lead: number;
  /** Virtual times of its arrival. */
  readonly arrivedAt: number;
  readonly arrivedInKeyAt: number;
}

/** Services it takes to outlive one unit of lead: the inverse of this. */
const agingPerService = 1 / 16;

/** Virtual time among equals. */
class Level {
  virtualTime = 0;
  /** Earliest start tag of each member's next request, and how many of its requests wait. */
  readonly #members = new Map<string, { next: number; waiting: number }>();

  arrive(member: string): void {
    const known = this.#members.get(member);
    if (known === undefined) this.#members.set(member, { next: 0, waiting: 1 });
    else known.waiting++;
  }

  leave(member: string): void {
    const known = this.#members.get(member);
    if (known !== undefined) known.waiting--;
    this.#forget();
  }

  serve(member: string, tag: number, cost: number): void {
    this.virtualTime = Math.max(this.virtualTime, tag) + agingPerService;
    const known = this.#members.get(member);
    if (known !== undefined) known.next = tag + cost;
    this.leave(member);
  }

  /** Waits for nothing and owes nothing. */
  isForgotten(member: string): boolean {
    return !this.#members.has(member);
  }

  tags(): Map<string, number> {
    return new Map([...this.#members].map(([member, { next }]) => [member, next]));
  }

  /** Members behind the virtual time start there again, so there is nothing to remember of them. */
  #forget(): void {
    for (const [member, { next, waiting }] of this.#members) {
      if (waiting === 0 && next <= this.virtualTime) this.#members.delete(member);
    }
  }
}

/** Whatever waits with a place. */
export interface Standing {
  readonly place: Place;
}

export class FairOrder {
  readonly #keys = new Level();
  readonly #users = new Map<string, Level>();

  /** Stamps an arrival. The place stays until `serve` or `leave`. */
  arrive({ keyId = "", weight = 1, userId = "", lead = 0 }: Claim): Place {
    const users = this.#users.get(keyId) ?? new Level();
    this.#users.set(keyId, users);
    this.#keys.arrive(keyId);
    users.arrive(userId);
    return {
      key: keyId,
      cost: 1 / weight,
      user: userId,
      lead,
      arrivedAt: this.#keys.virtualTime,
      arrivedInKeyAt: users.virtualTime,
    };
  }

  /** It is its turn. */
  serve(place: Place): void {
    const users = this.#users.get(place.key);
    users?.serve(place.user, userTag(place, users.tags()), 1);
    this.#keys.serve(place.key, keyTag(place, this.#keys.tags()), place.cost);
    this.#tidy();
  }

  /** It waits no more, and cost its user nothing. Not after `serve`. */
  leave({ key, user }: Place): void {
    this.#users.get(key)?.leave(user);
    this.#keys.leave(key);
    this.#tidy();
  }

  #tidy(): void {
    for (const key of this.#users.keys()) if (this.#keys.isForgotten(key)) this.#users.delete(key);
  }

  /** Those that wait, given in order of arrival, in the order in which they would be served if nobody else came. */
  order<Waiting extends Standing>(waiting: readonly Waiting[]): Waiting[] {
    const keyNext = this.#keys.tags();
    const userNext = new Map<string, Map<string, number>>();
    const usersOf = (key: string) => {
      const known = userNext.get(key) ?? this.#users.get(key)?.tags() ?? new Map<string, number>();
      userNext.set(key, known);
      return known;
    };
    const rest = [...waiting];
    const ordered: Waiting[] = [];
    while (rest.length > 0) {
      const first = firstOf(headsOf(rest, usersOf), ({ place }) => keyTag(place, keyNext) - place.lead);
      const { place } = first;
      const users = usersOf(place.key);
      users.set(place.user, userTag(place, users) + 1);
      keyNext.set(place.key, keyTag(place, keyNext) + place.cost);
      rest.splice(rest.indexOf(first), 1);
      ordered.push(first);
    }
    return ordered;
  }
}

/** Of each key the one that would be its next. */
function headsOf<Waiting extends Standing>(
  waiting: readonly Waiting[],
  usersOf: (key: string) => ReadonlyMap<string, number>,
): Waiting[] {
  const heads = new Map<string, { one: Waiting; tag: number }>();
  for (const one of waiting) {
    const { place } = one;
    const tag = userTag(place, usersOf(place.key)) - place.lead;
    const head = heads.get(place.key);
    if (head === undefined || tag < head.tag) heads.set(place.key, { one, tag });
  }
  return [...heads.values()].map(({ one }) => one);
}

function userTag(place: Place, next: ReadonlyMap<string, number>): number {
  return Math.max(place.arrivedInKeyAt, next.get(place.user) ?? 0);
}

function keyTag(place: Place, next: ReadonlyMap<string, number>): number {
  return Math.max(place.arrivedAt, next.get(place.key) ?? 0);
}

/** The first of the smallest. */
function firstOf<T>(items: readonly T[], measure: (item: T) => number): T {
  return items.reduce((best, item) => (measure(item) < measure(best) ? item : best));
}
