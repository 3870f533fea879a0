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
  const controller = new AbortController();
  const leave = () => controller.abort();
  caller.addEventListener("abort", leave, { once: true });
  let timer: ReturnType<typeof setTimeout> | undefined;
  let limitMs = 0;
  let sentence = "";
  let since = 0;
  let paused = false;
  let expired: AppError | undefined;

  // One timer that looks again, instead of a new one for every token.
  const look = () => {
    const leftMs = paused ? limitMs : since + limitMs - clock.now();
    if (leftMs > 0) {
      timer = setTimeout(look, leftMs);
      return;
    }
    expired = new AppError("engine_timeout", sentence);
    controller.abort();
  };

  return {
    signal: controller.signal,
    get expired() {
      return expired;
    },
    expectWithin(ms: number, otherwise: string) {
      since = clock.now();
      if (ms === limitMs && otherwise === sentence) return;
      limitMs = ms;
      sentence = otherwise;
      if (timer !== undefined) clearTimeout(timer);
      timer = setTimeout(look, ms);
    },
    pause() {
      paused = true;
    },
    resume() {
      paused = false;
      since = clock.now();
    },
    end(whole = false) {
      if (timer !== undefined) clearTimeout(timer);
      caller.removeEventListener("abort", leave);
      if (!whole) controller.abort();
    },
  };
}
