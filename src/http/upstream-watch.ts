/** How long an engine elsewhere may take for each phase of an answer. */
import { AppError } from "../core/errors.ts";
import type { Clock } from "../core/ports.ts";

export interface UpstreamWatch {
  /** For the upstream request. */
  signal: AbortSignal;
  /** Set when a phase took too long. */
  readonly expired: AppError | undefined;
  /** Starts a phase, or starts it again. */
  expectWithin(ms: number, otherwise: string): void;
  pause(): void;
  resume(): void;
  /** @param whole the reply was read to its end, so there is nothing to abort */
  end(whole?: boolean): void;
}

/** Aborts the upstream request when the caller leaves or when it keeps us waiting too long. */
export function watchUpstream(caller: AbortSignal, clock: Clock): UpstreamWatch {
  return new PhaseWatch(caller, clock);
}

class PhaseWatch implements UpstreamWatch {
  expired: AppError | undefined;
  readonly #controller = new AbortController();
  readonly #caller: AbortSignal;
  readonly #clock: Clock;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #limitMs = 0;
  #sentence = "";
  #since = 0;
  #paused = false;

  constructor(caller: AbortSignal, clock: Clock) {
    this.#caller = caller;
    this.#clock = clock;
    caller.addEventListener("abort", this.#leave, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  expectWithin(ms: number, otherwise: string): void {
    this.#since = this.#clock.now();
    if (ms === this.#limitMs && otherwise === this.#sentence) return;
    this.#limitMs = ms;
    this.#sentence = otherwise;
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#look, ms);
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#since = this.#clock.now();
  }

  end(whole = false): void {
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    this.#caller.removeEventListener("abort", this.#leave);
    if (!whole) this.#controller.abort();
  }

  readonly #leave = () => this.#controller.abort();

  // One timer that looks again, instead of a new one for every token.
  readonly #look = () => {
    const leftMs = this.#paused ? this.#limitMs : this.#since + this.#limitMs - this.#clock.now();
    if (leftMs > 0) {
      this.#timer = setTimeout(this.#look, leftMs);
      return;
    }
    this.expired = new AppError("engine_timeout", this.#sentence);
    this.#controller.abort();
  };
}
