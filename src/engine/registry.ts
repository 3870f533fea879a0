/**
 * Several models on one machine, a chat engine made of local engines: loaded when they are asked for, kept while they
 * are used, and sent out when the planner says that another one needs their memory.
 */
import type { ChatEvent, ChatRequest } from "../core/chat.ts";
import { AppError, toAppError } from "../core/errors.ts";
import { drainMsMax } from "../core/limits.ts";
import type { ChatEngine, ChatTurn, EngineHealth, EngineOperation, ModelListing } from "../core/ports.ts";
import type { Embeddings, EmbeddingsRequest, Ranking, RerankRequest } from "../core/vectors.ts";
import { readModelHeader } from "./check-model.ts";
import { unavailableBecause } from "./client-reason.ts";
import type { CompareDesk } from "./compare/desk.ts";
import type { LocalEngine } from "./local-engine.ts";
import type { MachineDesk } from "./machine-desk.ts";
import { carryOut } from "./operations.ts";
import {
  type Entry,
  healthOfAll,
  isDemo,
  type ModelStatus,
  nameOf,
  newEntry,
  statusOf,
  tellUntil,
  withRate,
} from "./registry-entry.ts";
import { ModelLoader } from "./registry-loader.ts";
import {
  type LoadForecast,
  type RegistryOptions,
  type RegistryTimes,
  registryTimesDefault,
} from "./registry-options.ts";
import { ModelRoom } from "./registry-room.ts";
import { isPlainName } from "./store-names.ts";
import { cancelled } from "./vector-desk.ts";
import { type ModelTask, taskOf } from "./vector-models.ts";

/** Between two looks on the disk for a model that was not there: it may take thousands of files. */
const soughtAgainMs = 60_000;

export class ModelRegistry implements ChatEngine {
  readonly #options: RegistryOptions;
  readonly #times: RegistryTimes;
  readonly #entries: Entry[] = [];
  readonly #stopped = new AbortController();
  readonly #room: ModelRoom;
  readonly #loader: ModelLoader;
  #draining = false;

  constructor(options: RegistryOptions) {
    this.#options = options;
    this.#times = { ...registryTimesDefault, ...options.times };
    this.#room = new ModelRoom(options, this.#entries, this.#times, this.#stopped.signal);
    this.#loader = new ModelLoader(options, this.#room, this.#stopped.signal);
    for (const { wanted, pinned } of options.models) this.#add(wanted, pinned === true);
  }

  /** Loads the first model and the pinned ones. Rejects with the reason why the first one cannot be loaded. */
  async start(): Promise<void> {
    const [first, ...rest] = this.#entries;
    if (first !== undefined) await this.#loader.ensure(first);
    for (const entry of rest) {
      if (!entry.pinned) continue;
      await this.#loader.ensure(entry).catch((thrown) => {
        this.#options.logger.error("A pinned model could not be loaded.", { reason: toAppError(thrown).message });
      });
    }
  }

  async *chat(request: ChatRequest, turn: ChatTurn): AsyncGenerator<ChatEvent, void, undefined> {
    const acceptedAt = this.#options.clock.now();
    const waitedMs = () => Math.max(0, this.#options.clock.now() - acceptedAt);
    let entry: Entry | undefined;
    try {
      entry = this.#require(request.model);
      entry.requests++;
      clearTimeout(entry.idleTimer);
      yield* this.#answer(entry, request, turn, waitedMs);
    } catch (thrown) {
      yield { type: "error", error: toAppError(thrown).toFacts(), timings: { totalMs: waitedMs() } };
    } finally {
      if (entry !== undefined) this.#used(entry);
    }
  }

  /** Asks again when the model was sent out while the request still waited in its line. */
  async *#answer(entry: Entry, request: ChatRequest, turn: ChatTurn, waitedMs: () => number) {
    for (;;) {
      const engine = yield* tellUntil(this.#engineFor(entry, turn.signal), entry, this.#times);
      if (engine === undefined) {
        yield { type: "cancelled", usage: { completionTokens: 0 }, timings: { totalMs: waitedMs() } } as const;
        return;
      }
      let lost = false;
      let begun = false;
      for await (const event of engine.chat({ ...request, model: nameOf(entry) }, turn)) {
        lost = !begun && event.type === "error" && event.error.code === "engine_unavailable" && isGone(entry, engine);
        if (lost && !this.#draining) break;
        begun ||= event.type !== "queued";
        yield event;
      }
      if (!lost || this.#draining) return;
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
        if (listing?.loaded === true) return withRate(listing, entry);
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
    const health = healthOfAll(this.#entries, this.#draining);
    const { memoryView } = this.#options;
    return memoryView === undefined ? health : { ...health, devices: memoryView(this.status()) };
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
    if (pinned !== undefined) entry.pinned = pinned;
    try {
      await this.#loader.forgetFailure(entry);
      await this.#loader.ensure(entry);
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
    await this.#loader.sendOut(entry, drainMs);
  }

  /**
   * Will it fit now, and what would have to go? Also of a model that is not in the list, on this disk or not.
   *
   * @param anyPlace false for callers who must not make this machine look into its files or ask servers of their choice
   * @throws AppError model_not_found, permission_denied, and for a server that is away engine_unavailable
   */
  async plan(name: string, { anyPlace = true }: { anyPlace?: boolean } = {}): Promise<LoadForecast> {
    const entry = this.#find(name);
    if (entry !== undefined) return await this.#room.forecast(entry);
    if (!anyPlace && !isPlainName(name)) throw namesOnly();
    if (this.#options.preview === undefined) throw this.#notHere(name);
    return await this.#room.forecast(newEntry(name, false));
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
    await this.#loader.settled();
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
      this.#loader.ensure(entry).catch((thrown) => {
        throw this.#unavailable(entry, toAppError(thrown));
      }),
      aborted,
    ]);
  }

  #unavailable(entry: Entry, reason: AppError): AppError {
    return unavailableBecause(reason, [entry.resolved?.path ?? "", entry.wanted ?? ""]);
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
    entry.idleTimer = setTimeout(() => void this.#loader.sendOutIdle(entry), keepAliveMs);
    entry.idleTimer.unref();
  }
}

function namesOnly(): AppError {
  const message =
    "Without SNUG_ENGINE_TOKEN only names and hf:owner/repo may be asked for; paths and addresses need the token.";
  return new AppError("permission_denied", message, { param: "model" });
}

function isGone({ planned, state }: Entry, engine: LocalEngine): boolean {
  return planned?.engine !== engine || state === "leaving";
}
