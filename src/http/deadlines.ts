/** Ends an answer that takes too long, with what it had cost until then. */
import { type ChatEvent, type ChatRequest, isDelta, isTerminal } from "../core/chat.ts";
import { AppError } from "../core/errors.ts";
import { abortReportMsMax } from "../core/limits.ts";

type Deadlines = Pick<NonNullable<ChatRequest["terms"]>, "firstTokenMsMax" | "totalMsMax">;
type Start = (signal: AbortSignal) => AsyncIterable<ChatEvent>;

/**
 * The same events, cut with engine_timeout at the deadline. The answer is then aborted, which frees its slot, and its
 * last event is waited for, so that the error tells exact counts; an engine that does not tell is left.
 *
 * @param start begins the answer; its signal aborts with the caller's or at a deadline
 */
export function withDeadlines(deadlines: Deadlines, signal: AbortSignal, start: Start): AsyncIterable<ChatEvent> {
  const { firstTokenMsMax, totalMsMax } = deadlines;
  return firstTokenMsMax === undefined && totalMsMax === undefined
    ? start(signal)
    : cutAtDeadlines(deadlines, signal, start);
}

async function* cutAtDeadlines(
  { firstTokenMsMax, totalMsMax }: Deadlines,
  signal: AbortSignal,
  start: Start,
): AsyncGenerator<ChatEvent, void> {
  const watch = new DeadlineWatch(signal);
  const first = watch.after(firstTokenMsMax, tooLate("The first word did not come", firstTokenMsMax));
  watch.after(totalMsMax, tooLate("The answer was not complete", totalMsMax));
  const events = start(watch.signal)[Symbol.asyncIterator]();
  try {
    for (;;) {
      const event = await watch.next(events);
      if (event === undefined) return;
      if (isDelta(event)) clearTimeout(first);
      yield event;
      if (isTerminal(event)) return;
    }
  } finally {
    watch.end();
    // An engine that ignores its signal may not come to its end; nobody waits for it.
    void Promise.resolve(events.return?.()).catch(() => {});
  }
}

class DeadlineWatch {
  readonly #controller = new AbortController();
  readonly #caller: AbortSignal;
  readonly #timers: ReturnType<typeof setTimeout>[] = [];
  #error: AppError | undefined;
  #lost: Promise<"lost">;
  #lose = () => {};

  constructor(caller: AbortSignal) {
    this.#caller = caller;
    this.#lost = new Promise((resolve) => {
      this.#lose = () => resolve("lost");
    });
    if (caller.aborted) this.#abort();
    else caller.addEventListener("abort", this.#abort, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  after(ms: number | undefined, error: AppError): ReturnType<typeof setTimeout> | undefined {
    if (ms === undefined) return undefined;
    const timer = setTimeout(() => {
      this.#error ??= error;
      this.#abort();
      this.#timers.push(setTimeout(this.#lose, abortReportMsMax));
    }, ms);
    this.#timers.push(timer);
    return timer;
  }

  /** The next event to pass on; after a deadline only the last one is, as the error. */
  async next(events: AsyncIterator<ChatEvent>): Promise<ChatEvent | undefined> {
    for (;;) {
      const result = await Promise.race([events.next(), this.#lost]);
      if (result === "lost") return { type: "error", error: this.#error!.toFacts() };
      if (result.done === true) return undefined;
      const event = result.value;
      // What was complete before it could be cut is complete.
      if (this.#error === undefined || event.type === "finish" || event.type === "error") return event;
      if (event.type !== "cancelled") continue;
      return { type: "error", error: this.#error.toFacts(), usage: event.usage, timings: event.timings };
    }
  }

  end(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#caller.removeEventListener("abort", this.#abort);
    this.#abort();
  }

  readonly #abort = () => this.#controller.abort();
}

function tooLate(what: string, ms = 0): AppError {
  const seconds = Math.round(ms / 100) / 10;
  const message = `${what} within ${seconds} s, so the answer was ended; try again when it is quieter, or allow more time.`;
  return new AppError("engine_timeout", message, { details: { limitMs: ms } });
}

/** One result within a time, or engine_timeout; the work's signal aborts then, and with the caller's. */
export async function within<T>(
  ms: number | undefined,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  if (ms === undefined) return await work(signal);
  const limit = AbortSignal.timeout(ms);
  try {
    return await work(AbortSignal.any([signal, limit]));
  } catch (thrown) {
    if (limit.aborted && !signal.aborted) throw tooLate("The result was not there", ms);
    throw thrown;
  }
}
