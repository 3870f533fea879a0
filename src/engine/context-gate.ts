/**
 * Lets somebody at the context between two steps. node-llama-cpp keeps the context locked for as long as any stream has a
 * token queued, and with two answers running one always has: a conversation that must drop some tokens before it begins
 * would wait until all of them have ended. So running answers stop for it at their next token.
 */
export class ContextGate {
  #inside = 0;
  #opened: Promise<void> | undefined;
  #open = () => {};

  /** What to wait for before the next token; undefined when nothing is in the way. */
  get closed(): Promise<void> | undefined {
    return this.#opened;
  }

  /** Does `work`, which needs the context's lock, while everybody else waits. */
  async hold(work: () => Promise<void>): Promise<void> {
    this.#inside++;
    this.#opened ??= new Promise((resolve) => {
      this.#open = resolve;
    });
    try {
      await work();
    } finally {
      this.#inside--;
      if (this.#inside === 0) {
        this.#opened = undefined;
        this.#open();
      }
    }
  }
}
