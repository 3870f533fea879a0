/** Who is answered next: a bounded line in fair order. Knows nothing of models; it only hands out slots. */
import { AppError } from "../core/errors.ts";
import { type Claim, FairOrder, type Place } from "../core/fair-order.ts";
import type { Clock } from "../core/ports.ts";

export interface SchedulerOptions {
  slots: number;
  /** Requests that may wait. */
  queueMax: number;
  /** Longest wait for a slot, milliseconds. */
  waitMsMax: number;
  clock: Clock;
}

export interface Waiter extends Claim {
  /** The slot is yours until the ticket is given back. May be called before `enter` returns the ticket. */
  started(): void;
  /** A new place in line, 1 being next. Called on entering too, unless a slot was free. */
  moved(position: number, estimatedWaitMs?: number): void;
  /** The wait was too long; the place is gone. */
  expired(): void;
}

/** A place in line, later a slot. */
export interface Ticket {
  /** Leaves the line or gives the slot back; again does nothing. */
  leave(): void;
}

interface Entry {
  waiter: Waiter;
  place: Place;
  state: "waiting" | "running" | "gone";
  position: number;
  startedAt: number;
  deadline: NodeJS.Timeout | undefined;
}

/** Weight of the newest answer in the running mean of answer durations. */
const newestWeight = 0.3;

export class Scheduler {
  readonly #options: SchedulerOptions;
  #slots: number;
  /** Waiting entries in order of arrival. */
  #line: Entry[] = [];
  readonly #fair = new FairOrder();
  #active = 0;
  #open = true;
  #answerMs: number | undefined;

  constructor(options: SchedulerOptions) {
    this.#options = options;
    this.#slots = options.slots;
  }

  get active(): number {
    return this.#active;
  }

  get queued(): number {
    return this.#line.length;
  }

  /** From now on so many at once; those above it may end. */
  setSlots(slots: number): void {
    this.#slots = slots;
    this.#dispatch();
  }

  /** Closed, nobody is started: the line waits for a model that is coming back. */
  setOpen(open: boolean): void {
    this.#open = open;
    this.#dispatch();
  }

  /** @throws AppError engine_overloaded when `enter` would find the line full */
  requireRoom(): void {
    const mustWait = !this.#open || this.#active >= this.#slots;
    if (mustWait && this.#line.length >= this.#options.queueMax) throw this.#overloaded();
  }

  /** @throws AppError engine_overloaded when the line is full */
  enter(waiter: Waiter): Ticket {
    this.requireRoom();
    const entry: Entry = {
      waiter,
      place: this.#fair.arrive(waiter),
      state: "waiting",
      position: 0,
      startedAt: 0,
      deadline: undefined,
    };
    this.#line.push(entry);
    this.#dispatch();
    if (entry.state === "waiting") entry.deadline = setTimeout(() => this.#expire(entry), this.#options.waitMsMax);
    return { leave: () => this.#leave(entry) };
  }

  #leave(entry: Entry): void {
    clearTimeout(entry.deadline);
    if (entry.state === "waiting") {
      this.#line.splice(this.#line.indexOf(entry), 1);
      this.#fair.leave(entry.place);
    }
    if (entry.state === "running") this.#freeSlot(entry);
    entry.state = "gone";
    this.#dispatch();
  }

  #freeSlot(entry: Entry): void {
    this.#active--;
    const duration = this.#options.clock.now() - entry.startedAt;
    this.#answerMs = this.#answerMs === undefined ? duration : mix(this.#answerMs, duration);
  }

  #expire(entry: Entry): void {
    if (entry.state !== "waiting") return;
    this.#leave(entry);
    entry.waiter.expired();
  }

  #dispatch(): void {
    while (this.#open && this.#active < this.#slots && this.#line.length > 0) this.#start(this.#order()[0]!);
    this.#order().forEach((entry, index) => {
      if (entry.position === index + 1) return;
      entry.position = index + 1;
      entry.waiter.moved(entry.position, this.#estimatedWaitMs(entry.position));
    });
  }

  #start(entry: Entry): void {
    clearTimeout(entry.deadline);
    this.#line.splice(this.#line.indexOf(entry), 1);
    this.#fair.serve(entry.place);
    this.#active++;
    entry.state = "running";
    entry.startedAt = this.#options.clock.now();
    entry.waiter.started();
  }

  #order(): Entry[] {
    return this.#fair.order(this.#line);
  }

  /** What one more request would wait for a slot, as far as answers so far tell. */
  get expectedWaitMs(): number | undefined {
    if (this.#open && this.#active < this.#slots) return 0;
    return this.#estimatedWaitMs(this.#line.length + 1);
  }

  #estimatedWaitMs(position: number): number | undefined {
    return this.#answerMs === undefined ? undefined : Math.round((this.#answerMs * position) / this.#slots);
  }

  #overloaded(): AppError {
    const retryAfterMs = this.#estimatedWaitMs(this.#line.length) ?? 1000;
    return new AppError("engine_overloaded", `${this.#line.length} requests are waiting already; try again later.`, {
      retryAfterMs: Math.max(1000, retryAfterMs),
    });
  }
}

function mix(mean: number, newest: number): number {
  return mean * (1 - newestWeight) + newest * newestWeight;
}
