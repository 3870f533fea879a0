/** Room for a model in the machine's memory: what its plan says, who would have to go for it, and their going. */
import { AppError, toAppError } from "../core/errors.ts";
import { modelPreviewKeptMs, modelPreviewMsMax, modelPreviewsMax } from "../core/limits.ts";
import type { HardwareReading } from "../core/ports.ts";
import { cheapestSet, withFreed } from "./eviction.ts";
import type { PlannedEngine } from "./planned-engine.ts";
import { type Entry, holdingOf, nameOf } from "./registry-entry.ts";
import type { DownloadForecast, LoadForecast, RegistryOptions, RegistryTimes } from "./registry-options.ts";
import type { PulledModel, RemoteModel } from "./store.ts";
import { readDiskBytesFree, requireDiskSpace } from "./store-download.ts";

/** Without a load to go by: a disk's rate, and what a process takes to start. */
const diskBytesPerSecond = 500e6;
const startMs = 1500;
/** A model that was to make room has ended: its memory is free by then, or somebody else has it. */
const memoryReturnMsMax = 3000;
/** Between two looks at whether a model has become idle. */
const idlePollMs = 25;

function warmMs(entry: Entry, fileBytes: number): number {
  return Math.round(entry.warmMs ?? startMs + (fileBytes / diskBytesPerSecond) * 1000);
}

function notHere(): AppError {
  return new AppError("model_not_found", "The model is not on this disk; a load fetches it and then plans it.");
}

export class ModelRoom {
  readonly #options: RegistryOptions;
  readonly #entries: readonly Entry[];
  readonly #times: RegistryTimes;
  readonly #stopped: AbortSignal;
  /** By what was asked for, oldest first. */
  readonly #previews = new Map<string, { at: number; answer: Promise<PulledModel | RemoteModel> }>();

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
    const found = entry.resolved ?? (await this.#previewOf(entry));
    if (found instanceof AppError) {
      return { model, loaded: false, fits: false, evicts: [], downloadNeeded: true, reason: found.message };
    }
    if ("path" in found) return await this.#forecastHere(entry, found);
    return await this.#forecastRemote(entry, found);
  }

  async #forecastHere(entry: Entry, here: PulledModel): Promise<LoadForecast> {
    const base = { model: nameOf(entry), loaded: false, downloadNeeded: false };
    try {
      const { planned, victims } = await this.planWithin(entry, here);
      const evicts = victims.map(nameOf);
      return { ...base, fits: true, evicts, estimatedWarmMs: warmMs(entry, here.fileBytes), plan: planned.plan };
    } catch (thrown) {
      return { ...base, fits: false, evicts: [], reason: toAppError(thrown).message };
    }
  }

  async #forecastRemote(entry: Entry, remote: RemoteModel): Promise<LoadForecast> {
    const download = await this.#forecastDownload(entry, remote);
    const base = { model: nameOf(entry), loaded: false, downloadNeeded: true, download };
    try {
      await requireDiskSpace(remote.folder, remote.bytesMissing);
      const { planRemote } = this.#options;
      if (planRemote === undefined) throw notHere();
      const { planned, victims } = await this.#planWith(entry, (reading) => planRemote(remote, reading));
      const { estimatedMs } = download;
      return {
        ...base,
        fits: true,
        evicts: victims.map(nameOf),
        ...(estimatedMs === undefined ? {} : { estimatedWarmMs: estimatedMs + warmMs(entry, remote.fileBytes) }),
        plan: planned,
      };
    } catch (thrown) {
      return { ...base, fits: false, evicts: [], reason: toAppError(thrown).message };
    }
  }

  async #forecastDownload({ download }: Entry, remote: RemoteModel): Promise<DownloadForecast> {
    const { fileBytes, folder } = remote;
    // While it is fetched the progress knows better.
    const bytesMissing = download === undefined ? remote.bytesMissing : Math.max(0, fileBytes - download.bytesDone);
    const rate = this.#options.downloadBytesPerSecond?.();
    return {
      fileBytes,
      bytesMissing,
      diskBytesFree: await readDiskBytesFree(folder),
      ...(rate === undefined ? {} : { estimatedMs: Math.round((bytesMissing / rate) * 1000) }),
    };
  }

  /** A listed model whose server is away is still listed; of another the error is the answer. */
  async #previewOf(entry: Entry): Promise<PulledModel | RemoteModel | AppError> {
    try {
      return await this.#preview(entry.wanted);
    } catch (thrown) {
      const error = toAppError(thrown);
      if (this.#entries.includes(entry)) return error;
      throw error;
    }
  }

  async #preview(wanted: string | undefined): Promise<PulledModel | RemoteModel> {
    const { preview } = this.#options;
    if (preview === undefined) throw notHere();
    const key = wanted ?? "";
    const now = performance.now();
    for (const [name, { at }] of this.#previews) {
      if (now - at > modelPreviewKeptMs || this.#previews.size >= modelPreviewsMax) this.#previews.delete(name);
    }
    const known = this.#previews.get(key)?.answer;
    if (known !== undefined) return await known;
    const patience = AbortSignal.timeout(modelPreviewMsMax);
    const answer = preview(wanted, { signal: AbortSignal.any([this.#stopped, patience]) }).catch((thrown) => {
      this.#previews.delete(key);
      if (!patience.aborted) throw thrown;
      const message = `The server of ${JSON.stringify(key)} does not answer; try again later.`;
      throw new AppError("engine_unavailable", message, { cause: thrown });
    });
    this.#previews.set(key, { at: now, answer });
    return await answer;
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
    return await this.#planWith(entry, (reading) => this.#options.open(model, reading));
  }

  async #planWith<Planned>(
    entry: Entry,
    plan: (reading: HardwareReading) => Promise<Planned>,
  ): Promise<{ planned: Planned; victims: Entry[] }> {
    const reading = await this.#options.read();
    const movable = this.#entries.filter((one) => one !== entry && one.planned !== undefined && !one.pinned);
    movable.sort((left, right) => (left.lastUsedAt ?? 0) - (right.lastUsedAt ?? 0));
    const tryWith = async (victims: readonly Entry[]) => {
      const holdings = victims.flatMap((victim) => holdingOf(victim) ?? []);
      return await plan(withFreed(reading, holdings)).catch((thrown) => {
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
