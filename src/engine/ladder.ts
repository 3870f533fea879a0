/**
 * What to give up when a load fails although its plan had room. One thing at a time, in the planner's own order: answers
 * at once, micro-batch, an 8-bit cache, context, a smaller quantization at hand, experts and layers to main memory.
 */
import { formatTokens } from "../core/units.ts";
import type { LoadSettings, MemoryBytes } from "./ipc.ts";

/** One step down, for the log and /status. */
export interface LadderStep {
  /** Milliseconds since the epoch. */
  at: number;
  setting:
    | "sequenceCount"
    | "batchSize"
    | "kvCacheType"
    | "contextLength"
    | "quantization"
    | "hostExpertLayers"
    | "gpuLayers";
  from: string;
  to: string;
  /** Forecast; left out where there is none. */
  savedBytes?: number;
  /** What went wrong with the settings before, one sentence. */
  reason: string;
}

/** Another file of the same model, smaller than the one before it. */
export interface SmallerFile {
  path: string;
  quantization: string;
  /** Layers of the planner's count; the same model has the same. */
  fileBytes: number;
}

export interface LadderOptions {
  /** Settings an administrator fixed: they are never given up. */
  fixed?: ReadonlySet<LadderStep["setting"]>;
  /** Smaller quantizations on this disk, largest first. */
  smallerFiles?: readonly SmallerFile[];
  /** The file's own, for the step's text. */
  quantization?: string;
  /** Layers the model has, the output layer included; needed where `gpuLayers` is "auto". */
  layerCount?: number;
  /** Layers with experts. */
  expertLayerCount?: number;
  /** Heads divide into blocks of 32, so the cache may be 8-bit. Default true. */
  cacheMayBeQuantized?: boolean;
  /** Bytes the settings would take, to pass over steps that save nothing where it matters. */
  price?(settings: LoadSettings): MemoryBytes;
}

/** Short of it the ladder looks for other savings: half a page of conversation helps nobody. */
const contextLengthMin = 2048;
const batchSizes = [256, 128];
/** Share of all layers that goes to the host in one step. */
const layerShare = 1 / 4;

interface Rung {
  setting: LadderStep["setting"];
  from: string;
  to: string;
  settings: LoadSettings;
}

/** Walks down; never up again while the process lives, since what failed once would fail again under load. */
export class Ladder {
  readonly steps: LadderStep[] = [];
  readonly #options: LadderOptions;
  #quantization: string | undefined;
  #files: SmallerFile[];

  constructor(options: LadderOptions = {}) {
    this.#options = options;
    this.#quantization = options.quantization;
    this.#files = [...(options.smallerFiles ?? [])];
  }

  /** The next settings to try after `settings` failed with `reason`; undefined at the bottom. */
  next(settings: LoadSettings, reason: string, at: number): LoadSettings | undefined {
    for (const rung of this.#rungs(settings)) {
      if (this.#options.fixed?.has(rung.setting)) continue;
      const savedBytes = this.#saved(settings, rung.settings);
      if (savedBytes !== undefined && savedBytes <= 0) continue;
      const { setting, from, to } = rung;
      this.steps.push({ at, setting, from, to, ...(savedBytes === undefined ? {} : { savedBytes }), reason });
      if (setting === "quantization") {
        this.#quantization = to;
        this.#files = this.#files.filter(({ path }) => path !== rung.settings.modelPath);
      }
      return rung.settings;
    }
    return undefined;
  }

  #saved(before: LoadSettings, after: LoadSettings): number | undefined {
    const [larger, smaller] = [this.#options.price?.(before), this.#options.price?.(after)];
    if (larger === undefined || smaller === undefined) return undefined;
    // While layers are on a GPU it is the GPU that is short.
    const where = before.gpu !== false && before.gpuLayers !== 0 ? "gpuBytes" : "hostBytes";
    return larger[where] - smaller[where];
  }

  *#rungs(settings: LoadSettings): Generator<Rung> {
    yield* sequenceRungs(settings);
    yield* batchRungs(settings);
    if (this.#options.cacheMayBeQuantized !== false) yield* cacheRungs(settings);
    yield* contextRungs(settings);
    yield* this.#fileRungs(settings);
    yield* expertRungs(settings, this.#options.expertLayerCount ?? 0);
    yield* layerRungs(settings, this.#options.layerCount);
  }

  *#fileRungs(settings: LoadSettings): Generator<Rung> {
    for (const { path, quantization } of this.#files) {
      yield {
        setting: "quantization",
        from: this.#quantization ?? "as in the file",
        to: quantization,
        settings: { ...settings, modelPath: path },
      };
    }
  }
}

function* sequenceRungs(settings: LoadSettings): Generator<Rung> {
  for (let count = settings.sequenceCount; count > 1; ) {
    count = Math.floor(count / 2);
    yield {
      setting: "sequenceCount",
      from: `${settings.sequenceCount}`,
      to: `${count}`,
      settings: { ...settings, sequenceCount: count },
    };
  }
}

function* batchRungs(settings: LoadSettings): Generator<Rung> {
  for (const size of batchSizes) {
    // One below a power of two stays one below: see `planLoad`.
    const batchSize = settings.batchSize % 2 === 0 ? size : size - 1;
    if (batchSize >= settings.batchSize || batchSize < settings.sequenceCount) continue;
    yield {
      setting: "batchSize",
      from: `${settings.batchSize}`,
      to: `${batchSize}`,
      settings: { ...settings, batchSize },
    };
  }
}

function* cacheRungs(settings: LoadSettings): Generator<Rung> {
  const { kvCacheTypeK, kvCacheTypeV, flashAttention } = settings;
  // A quantized value cache needs flash attention, and there is nothing to win below 8 bits without a loss in quality.
  const wide = ["F32", "F16", "BF16"];
  if (flashAttention === false || !wide.includes(kvCacheTypeK) || !wide.includes(kvCacheTypeV)) return;
  yield {
    setting: "kvCacheType",
    from: kvCacheTypeK,
    to: "Q8_0",
    settings: { ...settings, kvCacheTypeK: "Q8_0", kvCacheTypeV: "Q8_0", flashAttention: true },
  };
}

function* contextRungs(settings: LoadSettings): Generator<Rung> {
  const { contextLength } = settings;
  if (contextLength === undefined) return;
  for (let length = contextLength; length > contextLengthMin; ) {
    length = Math.max(contextLengthMin, Math.floor(length / 2));
    yield {
      setting: "contextLength",
      from: formatTokens(contextLength),
      to: formatTokens(length),
      settings: { ...settings, contextLength: length },
    };
  }
}

/** Experts are most of such a model and the part that bears the slower memory best. */
function* expertRungs(settings: LoadSettings, expertLayerCount: number): Generator<Rung> {
  const { backend, gpu, hostExpertLayers: from = 0 } = settings;
  if (backend !== "llama-server" || gpu === false) return;
  const step = Math.max(1, Math.ceil(expertLayerCount * layerShare));
  for (let layers = from; layers < expertLayerCount; ) {
    layers = Math.min(expertLayerCount, layers + step);
    yield {
      setting: "hostExpertLayers",
      from: `${from}`,
      to: `${layers}`,
      settings: { ...settings, hostExpertLayers: layers },
    };
  }
}

function* layerRungs(settings: LoadSettings, layerCount: number | undefined): Generator<Rung> {
  if (settings.gpu === false) return;
  const from = settings.gpuLayers === "auto" ? layerCount : settings.gpuLayers;
  if (from === undefined || from <= 0) return;
  const step = Math.max(1, Math.ceil((layerCount ?? from) * layerShare));
  for (let layers = from; layers > 0; ) {
    layers = Math.max(0, layers - step);
    // Without layers there, the driver's own share of the card would be for nothing.
    const gpu = layers === 0 ? false : settings.gpu;
    yield { setting: "gpuLayers", from: `${from}`, to: `${layers}`, settings: { ...settings, gpu, gpuLayers: layers } };
  }
}
