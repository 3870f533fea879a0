/** Models brought up and sent out, one at a time: each is planned for what the one before left. */
import { AppError, toAppError } from "../core/errors.ts";
import type { LocalEngine } from "./local-engine.ts";
import { type Entry, statusOf } from "./registry-entry.ts";
import type { RegistryOptions } from "./registry-options.ts";
import type { ModelRoom } from "./registry-room.ts";
import type { PulledModel } from "./store.ts";

export class ModelLoader {
  readonly #options: RegistryOptions;
  readonly #room: ModelRoom;
  readonly #stopped: AbortSignal;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: RegistryOptions, room: ModelRoom, stopped: AbortSignal) {
    this.#options = options;
    this.#room = room;
    this.#stopped = stopped;
  }

  /** The engine of a model, loaded if need be; many who ask at once wait for one load. Rejects with `AppError`. */
  ensure(entry: Entry): Promise<LocalEngine> {
    if (entry.planned !== undefined && entry.state !== "leaving") return Promise.resolve(entry.planned.engine);
    entry.loading ??= this.#bringUp(entry).finally(() => {
      entry.loading = undefined;
    });
    // Those who wait listen themselves; without any, a failure is in the entry.
    entry.loading.catch(() => {});
    return entry.loading;
  }

  /** Sends a model out; running answers may end within `drainMs`. */
  async sendOut(entry: Entry, drainMs: number): Promise<void> {
    await this.#inTurn(() => this.#room.evict(entry, drainMs));
  }

  /** The same, unless somebody asks for it by then. */
  async sendOutIdle(entry: Entry): Promise<void> {
    await this.#inTurn(async () => {
      if (entry.requests === 0) await this.#room.evict(entry, 0);
    });
  }

  /** A model that can answer nobody is sent out, so that the next who asks for it loads it anew. */
  async forgetFailure(entry: Entry): Promise<void> {
    entry.failure = undefined;
    if (entry.planned === undefined || statusOf(entry).state !== "failed") return;
    await this.sendOut(entry, 0);
  }

  /** Resolves when no load or eviction is under way. */
  async settled(): Promise<void> {
    await this.#turn;
  }

  async #bringUp(entry: Entry): Promise<LocalEngine> {
    try {
      // Downloads may take an hour: others load meanwhile.
      const model = await this.#resolve(entry);
      const engine = await this.#inTurn(() => this.#loadInTurn(entry, model));
      entry.failure = undefined;
      return engine;
    } catch (thrown) {
      const error = toAppError(thrown);
      if (error.code === "internal") this.#options.logger.error("A model could not be prepared.", { cause: thrown });
      // Its file has gone: the next try looks for it again, and may fetch it.
      if (error.code === "model_not_found") entry.resolved = undefined;
      entry.state = "failed";
      entry.failure = { error, at: this.#options.clock.now() };
      throw error;
    }
  }

  async #resolve(entry: Entry): Promise<PulledModel> {
    if (entry.resolved !== undefined) return entry.resolved;
    entry.state = "finding";
    try {
      entry.resolved = await this.#options.resolve(entry.wanted, {
        signal: this.#stopped,
        onProgress: (progress) => {
          entry.download = progress;
        },
      });
      return entry.resolved;
    } finally {
      entry.download = undefined;
    }
  }

  async #loadInTurn(entry: Entry, model: PulledModel): Promise<LocalEngine> {
    const since = performance.now();
    const { planned: first, victims } = await this.#room.planWithin(entry, model);
    for (const victim of victims) await this.#room.makeRoom(victim, since);
    const startedAt = performance.now();
    // With somebody gone, planned again for what is really free now.
    const planned = victims.length === 0 ? first : await this.#room.openAgain(model);
    if (this.#stopped.aborted) throw new AppError("engine_unavailable", "The server is shutting down.");
    entry.planned = planned;
    entry.state = "loading";
    try {
      await planned.engine.start();
    } catch (thrown) {
      entry.planned = undefined;
      await planned.engine.stop({ drainMs: 0 });
      throw thrown;
    }
    entry.state = "ready";
    entry.readyAt = performance.now();
    entry.warmMs = entry.readyAt - startedAt;
    return planned.engine;
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => {});
    return done;
  }
}
