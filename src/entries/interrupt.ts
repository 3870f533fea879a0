/** Ctrl-C and friends as an abort signal. */

const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export interface Interrupts {
  /** Aborts at the first signal. */
  first: AbortSignal;
  /** Aborts at the second: the user does not want to wait. */
  second: AbortSignal;
  /** Gives the signals back to Node. */
  release(): void;
}

export function catchInterrupts(): Interrupts {
  const first = new AbortController();
  const second = new AbortController();
  const onSignal = () => (first.signal.aborted ? second : first).abort();
  for (const signal of signals) process.on(signal, onSignal);
  return {
    first: first.signal,
    second: second.signal,
    release: () => {
      for (const signal of signals) process.off(signal, onSignal);
    },
  };
}

export function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
