/** Checks of what a caller hands to the planner. Everything wrong is an AppError invalid_request that says what to change. */
import { AppError } from "../core/errors.ts";
import { GIB } from "../core/units.ts";
import { TENSOR_TYPES } from "./quantization.ts";
import type { Hardware, KvCacheType, ModelSpec, Wish } from "./types.ts";

/** No machine has more; larger numbers are mistakes of unit. */
const deviceBytesMax = 64 * 1024 * GIB;
/** Smaller than any device that could hold a model's buffers: a number in MiB or GiB where bytes were meant. */
const deviceBytesMin = 16 * 1024 * 1024;
const gpusMax = 16;
const contextLengthMax = 2 ** 31 - 1;
const sequencesMax = 256;
const batchMax = 65_536;

const cacheTypes: ReadonlySet<string> = new Set<KvCacheType>([
  "F32",
  "F16",
  "BF16",
  "Q8_0",
  "Q5_1",
  "Q5_0",
  "Q4_1",
  "Q4_0",
  "IQ4_NL",
]);
const backends: ReadonlySet<string> = new Set(["cuda", "vulkan", "rocm", "metal", "cpu"]);
const families: ReadonlySet<string> = new Set(["node-llama-cpp", "llama-server", "llama.cpp-2024"]);

export function checkHardware(hardware: Hardware): void {
  if (!backends.has(hardware.backend))
    refuse("The backend must be cuda, vulkan, rocm, metal or cpu.", "hardware.backend");
  if (hardware.gpus.length > gpusMax) refuse(`A plan covers at most ${gpusMax} GPUs.`, "hardware.devices");
  const ids = new Set<string>();
  hardware.gpus.forEach((gpu, index) => {
    const where = `hardware.devices[${index}]`;
    if (ids.has(gpu.id)) refuse(`Two GPUs have the id ${gpu.id.slice(0, 40)}.`, `${where}.id`);
    ids.add(gpu.id);
    bytes(gpu.vramBytesTotal, `${where}.vramBytesTotal`, deviceBytesMin);
    if (gpu.vramBytesFree !== undefined) bytes(gpu.vramBytesFree, `${where}.vramBytesFree`, 0);
  });
  if (hardware.ramBytesTotal !== undefined) bytes(hardware.ramBytesTotal, "hardware.ramBytesTotal", deviceBytesMin);
  if (hardware.ramBytesFree !== undefined) bytes(hardware.ramBytesFree, "hardware.ramBytesFree", 0);
}

export function checkWish(model: ModelSpec, wish: Wish): void {
  whole(wish.contextLength, "contextLength", 1, contextLengthMax);
  whole(wish.contextLengthMin, "contextLengthMin", 1, contextLengthMax);
  whole(wish.sequenceCount, "sequenceCount", 1, sequencesMax);
  whole(wish.sequenceCountMin, "sequenceCountMin", 1, sequencesMax);
  whole(wish.batchSize, "batchSize", 1, batchMax);
  whole(wish.microBatchSize, "microBatchSize", 1, batchMax);
  whole(wish.gpuLayers, "gpuLayers", 0, 10_000);
  whole(wish.hostExpertLayers, "hostExpertLayers", 0, 10_000);
  whole(wish.draftTokensMax, "draftTokensMax", 0, 64);
  if (wish.reserveBytes !== undefined) bytes(wish.reserveBytes, "reserveBytes", 0);
  if (wish.vramBytesMax !== undefined) bytes(wish.vramBytesMax, "vramBytesMax", 0);
  for (const share of wish.tensorSplit ?? []) {
    if (!(share >= 0 && Number.isFinite(share))) refuse("Every share of tensorSplit must be 0 or more.", "tensorSplit");
  }
  if (wish.buildFamily !== undefined && !families.has(wish.buildFamily)) {
    refuse("The build family must be node-llama-cpp, llama-server or llama.cpp-2024.", "buildFamily");
  }
  checkCacheTypes(model, wish);
}

function checkCacheTypes(model: ModelSpec, wish: Wish): void {
  for (const key of ["kvCacheTypeK", "kvCacheTypeV"] as const) {
    const type = wish[key];
    if (type === undefined) continue;
    if (!cacheTypes.has(type)) refuse(`${key} must be one of ${[...cacheTypes].join(", ")}.`, key);
    const lengths = model.layers.map((layer) => (key === "kvCacheTypeK" ? layer.keyLength : layer.valueLength));
    const { blockSize } = TENSOR_TYPES[type];
    if (lengths.some((length) => length % blockSize !== 0)) {
      refuse(
        `${model.name} has heads that are no multiple of ${blockSize}, so its cache cannot be ${type}. Use F16.`,
        key,
      );
    }
  }
  if (wish.flashAttention === false && isQuantized(wish.kvCacheTypeV)) {
    refuse(`A ${wish.kvCacheTypeV} value cache needs flash attention. Turn it on, or use F16.`, "kvCacheTypeV");
  }
}

export function isQuantized(type: KvCacheType | undefined): boolean {
  return type !== undefined && TENSOR_TYPES[type].blockSize > 1;
}

function bytes(value: number, param: string, min: number): void {
  if (Number.isFinite(value) && value >= min && value <= deviceBytesMax) return;
  refuse(`${param} must be a number of bytes between ${min} and ${deviceBytesMax}; it is ${value}.`, param);
}

function whole(value: number | undefined, param: string, min: number, max: number): void {
  if (value === undefined || (Number.isInteger(value) && value >= min && value <= max)) return;
  refuse(`${param} must be a whole number from ${min} to ${max}; it is ${value}.`, param);
}

function refuse(message: string, param: string): never {
  throw new AppError("invalid_request", message, { param });
}
