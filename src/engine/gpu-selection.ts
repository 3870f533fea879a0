/** Which of a machine's GPUs a model process sees, and in which order: told to it by its environment. */
import type { GpuReading, HardwareReading } from "../core/ports.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** How each GPU of a reading is called in the variable that chooses among them. */
export interface GpuNames {
  variable: "CUDA_VISIBLE_DEVICES" | "GGML_VK_VISIBLE_DEVICES";
  names: readonly string[];
}

/**
 * What CUDA_VISIBLE_DEVICES leaves of the cards nvidia-smi lists, in its order. Its numbers are taken to be nvidia-smi's:
 * CUDA counts the fastest first by itself, and its processes are told ids, so that plan and process mean the same card.
 *
 * @param cards in nvidia-smi's own order, undefined for one that cannot be planned with
 */
export function visibleCards(cards: readonly (GpuReading | undefined)[], wanted: string | undefined): GpuReading[] {
  if (wanted === undefined) return cards.filter((card) => card !== undefined);
  const visible: GpuReading[] = [];
  for (const word of wanted.split(",").map((part) => part.trim())) {
    const card = /^\d+$/.test(word)
      ? cards[Number(word)]
      : cards.find((one) => /^GPU-/.test(word) && one?.uuid?.startsWith(word) === true);
    // CUDA stops at the first name it does not know.
    if (card === undefined) break;
    visible.push(card);
  }
  return visible;
}

/** Undefined where a process cannot be told which GPUs to use. */
export function gpuNamesOf(
  { gpus, backend }: Pick<HardwareReading, "gpus" | "backend">,
  environment: Environment = process.env,
): GpuNames | undefined {
  if (gpus.length < 2) return undefined;
  if (backend === "cuda") {
    const names = gpus.flatMap(({ uuid }) => uuid ?? []);
    return names.length === gpus.length ? { variable: "CUDA_VISIBLE_DEVICES", names } : undefined;
  }
  // Vulkan numbers devices that llama.cpp then passes over; with a list of one's own, the n-th name is its n-th device.
  const listed = environment.GGML_VK_VISIBLE_DEVICES?.split(/[ ,]+/).filter((name) => name !== "") ?? [];
  const isOurs = backend === "vulkan" && listed.length === gpus.length && gpus.every(({ uuid }) => uuid === undefined);
  return isOurs ? { variable: "GGML_VK_VISIBLE_DEVICES", names: listed } : undefined;
}

/**
 * Lets a process see the GPUs that get layers and no others, in the reading's order. Empty where it need not or cannot be
 * told.
 *
 * @param split layers per GPU
 */
export function gpuEnvironment(
  reading: Pick<HardwareReading, "gpus" | "backend">,
  split: readonly number[],
  environment: Environment = process.env,
): Record<string, string> {
  const known = gpuNamesOf(reading, environment);
  const used = known?.names.filter((_, gpu) => (split[gpu] ?? 0) > 0) ?? [];
  return known === undefined || used.length === 0 ? {} : { [known.variable]: used.join(",") };
}

/** More GPUs than this are tried in order of their free memory only. */
const everySetMax = 3;

/** Sets of GPUs worth a plan, each as which of `free` it holds; the largest first. */
export function gpuSets(free: readonly number[]): boolean[][] {
  const count = free.length;
  const sets: boolean[][] = [];
  if (count <= everySetMax) {
    for (let bits = 1; bits < 2 ** count; bits++) sets.push(free.map((_, gpu) => ((bits >> gpu) & 1) === 1));
  } else {
    const byFree = free.map((_, gpu) => gpu).sort((left, right) => free[right]! - free[left]!);
    for (let size = count; size > 0; size--) {
      const kept = new Set(byFree.slice(0, size));
      sets.push(free.map((_, gpu) => kept.has(gpu)));
    }
  }
  const sizeOf = (set: boolean[]) => set.filter(Boolean).length;
  return sets.sort((left, right) => sizeOf(right) - sizeOf(left));
}
