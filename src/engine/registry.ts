/**
 * Several models on one machine, a chat engine made of local engines: loaded when they are asked for, kept while they
 * are used, and sent out when the planner says that another one needs their memory.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { ChatEvent, ChatRequest } from "../core/chat.ts";
import { AppError, toAppError } from "../core/errors.ts";
import {
  drainMsMax,
  loadFailureRestMs,
  preparationToldAfterMs,
  preparationToldEveryMs,
  swapDrainMsMax,
  swapWaitMsMax,
} from "../core/limits.ts";
import type {
  ChatEngine,
  Clock,
  EngineHealth,
  EngineOperation,
  HardwareReading,
  Logger,
  ModelListing,
} from "../core/ports.ts";
import type { Embeddings, EmbeddingsRequest, Ranking, RerankRequest } from "../core/vectors.ts";
import { readModelHeader } from "./check-model.ts";
import { unavailableBecause } from "./client-reason.ts";
import type { CompareDesk } from "./compare/desk.ts";
import { cheapestSet, withFreed } from "./eviction.ts";
import type { LocalEngine } from "./local-engine.ts";
import type { MachineDesk } from "./machine-desk.ts";
import type { MemoryView } from "./memory-view.ts";
import { carryOut } from "./operations.ts";
import type { PlannedEngine } from "./planned-engine.ts";
import {
  type Entry,
  holdingOf,
  isDemo,
  type ModelStatus,
  nameOf,
  newEntry,
  preparationOf,
  statusOf,
} from "./registry-entry.ts";
import type { DownloadProgress, PulledModel } from "./store.ts";
import { cancelled } from "./vector-desk.ts";
import { type ModelTask, taskOf } from "./vector-models.ts";

export interface RegistryModel {
  /** As in the settings: a name, a path, a reference, or undefined for the demo model. */
  wanted: string | undefined;
  /** Stays loaded whatever happens, and is loaded at the start. */
  pinned?: boolean;
}

export interface RegistryOptions {
  models: readonly RegistryModel[];
  /** Finds the file, downloads it if need be. */
  resolve(wanted: string | undefined, options: ResolveOptions): Promise<PulledModel>;
  /** What is on this disk under that name, undefined when it would have to be fetched. */
  lookUp(wanted: string | undefined): Promise<PulledModel | undefined>;
  /** Plans a model for the machine as the reading has it. Throws AppError model_does_not_fit. */
  open(model: PulledModel, reading: HardwareReading): Promise<PlannedEngine>;
  /** Models measured on this machine at several precisions. */
  comparisons?: CompareDesk;
  /** What is known of the machine it runs on. */
  machine?: MachineDesk;
  /** The machine as it is now. */
  read(): Promise<HardwareReading>;
  /** Its memory for those who look; without it health tells none. */
  memoryView?: MemoryView;
  clock: Clock;
  logger: Logger;
  /** Idle time after which a model that is not pinned is sent out; undefined keeps it. */
  keepAliveMs?: number;
  /** Tests shorten them. */
  times?: Partial<RegistryTimes>;
}

export interface ResolveOptions {
  signal: AbortSignal;
  onProgress(progress: DownloadProgress): void;
}

export interface RegistryTimes {
  /** Longest wait of a request for a busy model to become idle before it is sent out; requests for it are grouped. */
  swapWaitMsMax: number;
  /** Running answers of a model on its way out may go on this long. */
  swapDrainMsMax: number;
  /** A load that failed is not tried again for a request within this time. */
  loadFailureRestMs: number;
  /** When a request that waits for its model is first told so, and how often there may be news. */
  preparationToldAfterMs: number;
  preparationToldEveryMs: number;
}

/** The answer to "will it fit now". */
export interface LoadForecast {
  model: string;
  loaded: boolean;
  fits: boolean;
  /** Models that would be sent out for it. */
  evicts: string[];
  /** Milliseconds until it would answer, as far as can be told; busy models may take longer to leave. */
  estimatedWarmMs?: number;
  /** What would have to be fetched first. */
  downloadNeeded: boolean;
  /** Why it does not fit. */
  reason?: string;
  plan?: PlannedEngine["plan"];
}

const defaultTimes: RegistryTimes = {
  swapWaitMsMax,
  swapDrainMsMax,
  loadFailureRestMs,
  preparationToldAfterMs,
  preparationToldEveryMs,
};
/** Without a load to go by: a disk's rate, and what a process takes to start. */
const diskBytesPerSecond = 500e6;
const startMs = 1500;
/** A model that was to make room has ended: its memory is free by then, or somebody else has it. */
const memoryReturnMsMax = 3000;
/** Between two looks on the disk for a model that was not there: it may take thousands of files. */
const soughtAgainMs = 60_000;
/** Between two looks at whether a model has become idle. */
const idlePollMs = 25;

export class ModelRegistry implements ChatEngine {
  readonly #options: RegistryOptions;
  readonly #times: RegistryTimes;
  readonly #entries: Entry[] = [];
  readonly #stopped = new AbortController();
  /** Loads and evictions happen one at a time: each is planned for what the one before left. */
  #turn: Promise<unknown> = Promise.resolve();
  #draining = false;

  constructor(options: RegistryOptions) {
    this.#options = options;
    this.#times = { ...defaultTimes, ...options.times };
    for (const { wanted, pinned } of options.models) this.#add(wanted, pinned === true);
  }

  /** Loads the first model and the pinned ones. Rejects with the reason why the first one cannot be loaded. */
  async start(): Promise<void> {
    const [first, ...rest] = this.#entries;
    if (first !== undefined) await this.#ensure(first);
    for (const entry of rest) {
      if (!entry.pinned) continue;
      await this.#ensure(entry).catch((thrown) => {
        this.#options.logger.error("A pinned model could not be loaded.", { reason: toAppError(thrown).message });
      });
    }
  }

  async *chat(request: ChatRequest, { signal }: { signal: AbortSignal }): AsyncGenerator<ChatEvent, void, undefined> {
    const acceptedAt = this.#options.clock.now();
    const waitedMs = () => Math.max(0, this.#options.clock.now() - acceptedAt);
    let entry: Entry | undefined;
    try {
      entry = this.#require(request.model);
      entry.requests++;
      clearTimeout(entry.idleTimer);
      yield* this.#answer(entry, request, signal, waitedMs);
    } catch (thrown) {
      yield { type: "error", error: toAppError(thrown).toFacts(), timings: { totalMs: waitedMs() } };
    } finally {
      if (entry !== undefined) this.#used(entry);
    }
  }

  /** Asks again when the model was sent out while the request still waited in its line. */
  async *#answer(entry: Entry, request: ChatRequest, signal: AbortSignal, waitedMs: () => number) {
    for (;;) {
      const engine = yield* this.#tellUntil(this.#engineFor(entry, signal), entry);
      if (engine === undefined) {
        yield { type: "cancelled", usage: { completionTokens: 0 }, timings: { totalMs: waitedMs() } } as const;
        return;
      }
      let lost = false;
      let begun = false;
      for await (const event of engine.chat({ ...request, model: nameOf(entry) }, { signal })) {
        lost = !begun && event.type === "error" && event.error.code === "engine_unavailable" && isGone(entry, engine);
        if (lost && !this.#draining) break;
        begun ||= event.type !== "queued";
        yield event;
      }
      if (!lost || this.#draining) return;
    }
  }

  /** What comes of the wait, and meanwhile what is waited for, whenever there is news of it. */
  async *#tellUntil<T>(waiting: Promise<T>, entry: Entry): AsyncGenerator<ChatEvent, T> {
    const position = entry.requests;
    let told = "";
    for (let ms = this.#times.preparationToldAfterMs; ; ms = this.#times.preparationToldEveryMs) {
      const pause = new AbortController();
      const settled = await Promise.race([
        waiting.finally(() => pause.abort()).then((value) => ({ value })),
        delay(ms, undefined, { signal: pause.signal }).catch(() => {}),
      ]);
      if (settled !== undefined) return settled.value;
      const preparing = preparationOf(entry);
      const news = JSON.stringify(preparing);
      if (news === told) continue;
      told = news;
      yield { type: "queued", position, preparing };
    }
  }

  async embed(request: EmbeddingsRequest, options: { signal: AbortSignal }): Promise<Embeddings> {
    return await this.#withEngine(request.model, options.signal, (engine, model) =>
      engine.embed({ ...request, model }, options),
    );
  }

  async rerank(request: RerankRequest, options: { signal: AbortSignal }): Promise<Ranking> {
    return await this.#withEngine(request.model, options.signal, (engine, model) =>
      engine.rerank({ ...request, model }, options),
    );
  }

  /** Asks again when the model was sent out while the request still waited in its line. */
  async #withEngine<T>(
    name: string,
    signal: AbortSignal,
    ask: (engine: LocalEngine, model: string) => Promise<T>,
  ): Promise<T> {
    const entry = this.#require(name);
    entry.requests++;
    clearTimeout(entry.idleTimer);
    try {
      for (;;) {
        const engine = await this.#engineFor(entry, signal);
        if (engine === undefined) throw cancelled();
        try {
          return await ask(engine, nameOf(entry));
        } catch (thrown) {
          const lost = thrown instanceof AppError && thrown.code === "engine_unavailable" && isGone(entry, engine);
          if (!lost || this.#draining || signal.aborted) throw thrown;
        }
      }
    } finally {
      this.#used(entry);
    }
  }

  async models(): Promise<ModelListing[]> {
    return await Promise.all(
      this.#entries.map(async (entry): Promise<ModelListing> => {
        const [listing] = (await entry.planned?.engine.models()) ?? [];
        if (listing?.loaded === true) return listing;
        const task = await this.#taskOf(entry);
        const asked = task === "chat" ? {} : { task };
        return {
          ...(listing ?? { id: nameOf(entry), loaded: false, ...(isDemo(entry) ? { demo: true } : {}) }),
          ...asked,
        };
      }),
    );
  }

  /** What a model is for, by its header where it is on this disk. */
  async #taskOf(entry: Entry): Promise<ModelTask> {
    const now = this.#options.clock.now();
    if (entry.task !== undefined || now - entry.soughtAt < soughtAgainMs) return entry.task ?? "chat";
    entry.soughtAt = now;
    try {
      const file = entry.resolved ?? (await this.#options.lookUp(entry.wanted));
      if (file === undefined) return "chat";
      entry.task = taskOf((await readModelHeader(file.path)).metadata);
    } catch {
      // A load will say what is wrong with the file.
      entry.task = "chat";
    }
    return entry.task;
  }

  async health(): Promise<EngineHealth> {
    const healths = this.#entries.flatMap((entry) => entry.planned?.engine.status().health ?? []);
    const waiting = this.#entries.reduce((sum, entry) => sum + (entry.loading === undefined ? 0 : entry.requests), 0);
    const sum = (key: "active" | "queued" | "slots") => healths.reduce((total, health) => total + health[key], 0);
    const reason = this.#entries.find(({ failure }) => failure !== undefined)?.failure?.error.message;
    const failed = healths.find(({ state }) => state === "failed")?.reason ?? reason;
    const state = this.#state(healths);
    return {
      state,
      ...(state === "failed" && failed !== undefined ? { reason: failed } : {}),
      active: sum("active"),
      queued: Math.max(sum("queued"), waiting),
      slots: sum("slots"),
      ...(this.#options.memoryView === undefined ? {} : { devices: this.#options.memoryView(this.status()) }),
    };
  }

  status(): ModelStatus[] {
    return this.#entries.map(statusOf);
  }

  get machine(): MachineDesk | undefined {
    return this.#options.machine;
  }

  get comparisons(): CompareDesk | undefined {
    return this.#options.comparisons;
  }

  get draining(): boolean {
    return this.#draining;
  }

  async operate(operation: EngineOperation): Promise<Record<string, unknown>> {
    return await carryOut(this, operation);
  }

  /** Draining, running and waiting answers go on and no new request is taken. */
  setDraining(draining: boolean): void {
    this.#draining = draining;
  }

  /** Loads a model now, also one that is not listed yet; a failure before is forgotten. Throws AppError. */
  async load(name: string, { pinned }: { pinned?: boolean } = {}): Promise<ModelStatus> {
    const entry = this.#find(name) ?? this.#add(name, false);
    entry.failure = undefined;
    if (pinned !== undefined) entry.pinned = pinned;
    try {
      await this.#ensure(entry);
    } catch (thrown) {
      // A name that leads nowhere must not stay in the list.
      if (entry.resolved === undefined && !this.#options.models.some(({ wanted }) => wanted === name)) {
        this.#entries.splice(this.#entries.indexOf(entry), 1);
      }
      throw thrown;
    }
    this.#rest(entry);
    return statusOf(entry);
  }

  /** Sends a model out; running answers may end within `drainMs`. A later request loads it again. Throws AppError. */
  async unload(name: string, { drainMs = drainMsMax }: { drainMs?: number } = {}): Promise<void> {
    const entry = this.#find(name);
    if (entry === undefined) throw this.#notHere(name);
    await this.#inTurn(() => this.#evict(entry, drainMs));
  }

  /** Will it fit now, and what would have to go? Throws AppError model_not_found. */
  async plan(name: string): Promise<LoadForecast> {
    const entry = this.#find(name);
    if (entry === undefined) throw this.#notHere(name);
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
      const { planned, victims } = await this.#planWithin(entry, entry.resolved);
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

  /** Takes no more requests, lets running answers end within `drainMs`, and frees every model. */
  async stop({ drainMs = drainMsMax }: { drainMs?: number } = {}): Promise<void> {
    this.#draining = true;
    this.#stopped.abort();
    await this.#options.comparisons?.stop();
    const engines = this.#entries.flatMap((entry) => {
      clearTimeout(entry.idleTimer);
      return entry.planned?.engine ?? [];
    });
    await Promise.all(engines.map((engine) => engine.stop({ drainMs })));
    await this.#turn.catch(() => {});
    // What a load under way brought up in the meantime.
    await Promise.all(this.#entries.map((entry) => entry.planned?.engine.stop({ drainMs: 0 })));
  }

  #add(wanted: string | undefined, pinned: boolean): Entry {
    const entry = newEntry(wanted, pinned);
    this.#entries.push(entry);
    return entry;
  }

  #find(name: string): Entry | undefined {
    const said = name.toLowerCase();
    return this.#entries.find(
      (entry) => nameOf(entry).toLowerCase() === said || (entry.wanted ?? "demo").toLowerCase() === said,
    );
  }

  #require(name: string): Entry {
    const entry = this.#find(name);
    if (entry === undefined) throw this.#nothingLoaded() ?? this.#notHere(name);
    if (this.#draining) throw new AppError("engine_unavailable", "The engine takes no new requests; try again later.");
    return entry;
  }

  /** With no model at all, why there is none helps more than that this one is not. */
  #nothingLoaded(): AppError | undefined {
    if (this.#entries.some(({ failure }) => failure === undefined)) return undefined;
    const [first] = this.#entries;
    return first?.failure === undefined ? undefined : this.#unavailable(first, first.failure.error);
  }

  #notHere(name: string): AppError {
    const here = this.#entries.map((entry) => JSON.stringify(nameOf(entry))).join(", ");
    const message = `This engine does not have the model ${JSON.stringify(name.slice(0, 200))}; it has ${here || "none"}.`;
    return new AppError("model_not_found", message, { param: "model" });
  }

  #state(healths: readonly EngineHealth[]): EngineHealth["state"] {
    if (this.#draining) return "stopped";
    const has = (state: EngineHealth["state"]) => healths.some((health) => health.state === state);
    if (has("ready")) return "ready";
    if (has("restarting")) return "restarting";
    if (this.#entries.some((entry) => entry.loading !== undefined)) return "loading";
    if (has("failed") || this.#entries.some((entry) => entry.failure !== undefined)) return "failed";
    // Nothing is loaded and nothing hinders: the next request loads.
    return "ready";
  }

  /** The engine that answers, loaded if need be; undefined when the signal aborts first. */
  async #engineFor(entry: Entry, signal: AbortSignal): Promise<LocalEngine | undefined> {
    if (signal.aborted) return undefined;
    const { planned, state, failure } = entry;
    if (planned !== undefined && state !== "leaving") return planned.engine;
    const restMs = failure === undefined ? 0 : failure.at + this.#times.loadFailureRestMs - this.#options.clock.now();
    if (failure !== undefined && restMs > 0) throw this.#unavailable(entry, failure.error);
    const aborted = new Promise<undefined>((resolve) => {
      signal.addEventListener("abort", () => resolve(undefined), { once: true });
    });
    return await Promise.race([
      this.#ensure(entry).catch((thrown) => {
        throw this.#unavailable(entry, toAppError(thrown));
      }),
      aborted,
    ]);
  }

  #unavailable(entry: Entry, reason: AppError): AppError {
    return unavailableBecause(reason, [entry.resolved?.path ?? "", entry.wanted ?? ""]);
  }

  #ensure(entry: Entry): Promise<LocalEngine> {
    if (entry.planned !== undefined && entry.state !== "leaving") return Promise.resolve(entry.planned.engine);
    entry.loading ??= this.#bringUp(entry).finally(() => {
      entry.loading = undefined;
    });
    // Those who wait listen themselves; without any, a failure is in the entry.
    entry.loading.catch(() => {});
    return entry.loading;
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
        signal: this.#stopped.signal,
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
    const { planned: first, victims } = await this.#planWithin(entry, model);
    for (const victim of victims) await this.#makeRoom(victim, since);
    const startedAt = performance.now();
    // With somebody gone, planned again for what is really free now.
    const planned = victims.length === 0 ? first : await this.#openAgain(model);
    this.#requireRunning();
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

  /** Drivers give memory back a moment after the process that held it has ended. */
  async #openAgain(model: PulledModel): Promise<PlannedEngine> {
    const until = performance.now() + memoryReturnMsMax;
    for (;;) {
      try {
        return await this.#options.open(model, await this.#options.read());
      } catch (thrown) {
        const short = thrown instanceof AppError && thrown.code === "model_does_not_fit";
        if (!short || performance.now() > until || this.#stopped.signal.aborted) throw thrown;
        await new Promise((resolve) => setTimeout(resolve, idlePollMs * 4));
      }
    }
  }

  #requireRunning(): void {
    if (this.#stopped.signal.aborted) throw new AppError("engine_unavailable", "The server is shutting down.");
  }

  /** A plan for the machine, and the models to send out for it: as few and as long unused as can be. */
  async #planWithin(entry: Entry, model: PulledModel): Promise<{ planned: PlannedEngine; victims: Entry[] }> {
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
  async #makeRoom(victim: Entry, since: number): Promise<void> {
    // One that has just been loaded first serves those it was loaded for.
    const until = Math.max(since, victim.readyAt) + this.#times.swapWaitMsMax;
    while (victim.requests > 0 && performance.now() < until) {
      if (this.#stopped.signal.aborted) return;
      await new Promise((resolve) => setTimeout(resolve, idlePollMs));
    }
    await this.#evict(victim, this.#times.swapDrainMsMax);
  }

  async #evict(entry: Entry, drainMs: number): Promise<void> {
    const { planned } = entry;
    if (planned === undefined) return;
    clearTimeout(entry.idleTimer);
    entry.state = "leaving";
    this.#options.logger.info("A model is sent out.", { model: nameOf(entry) });
    await planned.engine.stop({ drainMs });
    entry.planned = undefined;
    entry.state = "unloaded";
  }

  #used(entry: Entry): void {
    entry.requests--;
    entry.lastUsedAt = this.#options.clock.now();
    this.#rest(entry);
  }

  /** Nobody asks for it any more: after a while it may go. */
  #rest(entry: Entry): void {
    clearTimeout(entry.idleTimer);
    const { keepAliveMs } = this.#options;
    if (keepAliveMs === undefined || entry.pinned || entry.requests > 0 || this.#draining) return;
    entry.idleTimer = setTimeout(() => {
      void this.#inTurn(async () => {
        if (entry.requests === 0) await this.#evict(entry, 0);
      });
    }, keepAliveMs);
    entry.idleTimer.unref();
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.catch(() => {}).then(work);
    this.#turn = done.catch(() => {});
    return done;
  }
}

function isGone({ planned, state }: Entry, engine: LocalEngine): boolean {
  return planned?.engine !== engine || state === "leaving";
}
