/** Room for a model in the machine's memory: what its plan says, who would have to go for it, and their going. */
import { AppError, toAppError } from "../core/errors.ts";
import { cheapestSet, withFreed } from "./eviction.ts";
import type { PlannedEngine } from "./planned-engine.ts";
import { type Entry, holdingOf, nameOf } from "./registry-entry.ts";
import type { LoadForecast, RegistryOptions, RegistryTimes } from "./registry-options.ts";
import type { PulledModel } from "./store.ts";

/** Without a load to go by: a disk's rate, and what a process takes to start. */
const diskBytesPerSecond = 500e6;
const startMs = 1500;
/** A model that was to make room has ended: its memory is free by then, or somebody else has it. */
const memoryReturnMsMax = 3000;
/** Between two looks at whether a model has become idle. */
const idlePollMs = 25;

export class ModelRoom {
  readonly #options: RegistryOptions;
  readonly #entries: readonly Entry[];
  readonly #times: RegistryTimes;
  readonly #stopped: AbortSignal;

  /** @param entries the registry's own list, as it grows and shrinks */
  constructor(options: RegistryOptions, entries: readonly Entry[], times: RegistryTimes, stopped: AbortSignal) {
    this.#options = options;
    this.#entries = entries;
    this.#times = times;
    this.#stopped = stopped;
  }

  /** Will it fit now, and what would have to go? Throws AppError. */
  async forecast(entry: Entry): Promise<LoadForecast> {
    const model = nameOf(entry);
    if (entry.planned !== undefined) {
      return {
        model,
        loaded: true,
        fits: true,
        evicts: [],
        estimatedWarmMs: 0,
        downloadNeeded: false,
        plan: entry.planned.report().plan,
      };
    }
    entry.resolved ??= await this.#options.lookUp(entry.wanted);
    if (entry.resolved === undefined) {
      const reason = "The model is not on this disk; its first request, or a load, fetches it and then plans it.";
      return { model, loaded: false, fits: false, evicts: [], downloadNeeded: true, reason };
    }
    const warmMs = entry.warmMs ?? startMs + (entry.resolved.fileBytes / diskBytesPerSecond) * 1000;
    try {
      const { planned, victims } = await this.planWithin(entry, entry.resolved);
      return {
        model,
        loaded: false,
        fits: true,
        evicts: victims.map(nameOf),
        estimatedWarmMs: Math.round(warmMs),
        downloadNeeded: false,
        plan: planned.plan,
      };
    } catch (thrown) {
      const { message } = toAppError(thrown);
      return { model, loaded: false, fits: false, evicts: [], downloadNeeded: false, reason: message };
    }
  }

  /** Drivers give memory back a moment after the process that held it has ended. */
  async openAgain(model: PulledModel): Promise<PlannedEngine> {
    const until = performance.now() + memoryReturnMsMax;
    for (;;) {
      try {
        return await this.#options.open(model, await this.#options.read());
      } catch (thrown) {
        const short = thrown instanceof AppError && thrown.code === "model_does_not_fit";
        if (!short || performance.now() > until || this.#stopped.aborted) throw thrown;
        await new Promise((resolve) => setTimeout(resolve, idlePollMs * 4));
      }
    }
  }

  /** A plan for the machine, and the models to send out for it: as few and as long unused as can be. */
  async planWithin(entry: Entry, model: PulledModel): Promise<{ planned: PlannedEngine; victims: Entry[] }> {
    const reading = await this.#options.read();
    const movable = this.#entries.filter((one) => one !== entry && one.planned !== undefined && !one.pinned);
    movable.sort((left, right) => (left.lastUsedAt ?? 0) - (right.lastUsedAt ?? 0));
    const tryWith = async (victims: readonly Entry[]) => {
      const holdings = victims.flatMap((victim) => holdingOf(victim) ?? []);
      return await this.#options.open(model, withFreed(reading, holdings)).catch((thrown) => {
        if (thrown instanceof AppError && thrown.code === "model_does_not_fit") return thrown;
        throw thrown;
      });
    };
    const found = await cheapestSet(movable, async (victims) => {
      const outcome = await tryWith(victims);
      return outcome instanceof AppError ? undefined : outcome;
    });
    if (found !== undefined) return { planned: found.result, victims: found.set };
    const refusal = await tryWith(movable);
    throw refusal instanceof AppError ? refusal : new AppError("model_does_not_fit", "The model does not fit.");
  }

  /** Waits for a victim to become idle, but not for ever: requests for it are grouped up to a limit, then it goes. */
  async makeRoom(victim: Entry, since: number): Promise<void> {
    // One that has just been loaded first serves those it was loaded for.
    const until = Math.max(since, victim.readyAt) + this.#times.swapWaitMsMax;
    while (victim.requests > 0 && performance.now() < until) {
      if (this.#stopped.aborted) return;
      await new Promise((resolve) => setTimeout(resolve, idlePollMs));
    }
    await this.evict(victim, this.#times.swapDrainMsMax);
  }

  async evict(entry: Entry, drainMs: number): Promise<void> {
    const { planned } = entry;
    if (planned === undefined) return;
    clearTimeout(entry.idleTimer);
    entry.state = "leaving";
    this.#options.logger.info("A model is sent out.", { model: nameOf(entry) });
    await planned.engine.stop({ drainMs });
    entry.planned = undefined;
    entry.state = "unloaded";
  }
}
