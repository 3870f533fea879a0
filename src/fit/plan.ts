/**
 * `planFit`: from a model, a machine and a wish to settings with bytes per device, or a refusal that names the nearest
 * plan. Deterministic; no I/O, no clock.
 */
import { formatBytes } from "../core/units.ts";
import type { DeviceMemory } from "./memory.ts";
import { hasTensorTypes } from "./memory-weights.ts";
import { offloadableLayers } from "./placement.ts";
import { allocationMax, type Candidate, evaluate, exactly, type Machine, prepareMachine } from "./plan-evaluate.ts";
import { checkHardware, checkWish } from "./plan-input.ts";
import { type Found, search } from "./plan-search.ts";
import { quantizationDefault, startingSettings } from "./plan-settings.ts";
import type { DeviceBreakdown, FitPlan, FitRefusal, Hardware, ModelSpec, Wish } from "./types.ts";

// The package's `fit` entry is this file.
export { offloadableLayers } from "./placement.ts";
export { prepareScreening, type ScreenedFit, type ScreeningMachine, screenFit } from "./plan-screen.ts";

/**
 * Plans `model` on `hardware`. Fields of `wish` are kept as given; the rest is chosen.
 *
 * A wish that fixes both `gpuLayers` and `contextLength` describes a load rather than a question: the answer is always
 * a plan, with defaults for what is left open and `fits` saying whether it has room. Otherwise a plan fits, and what
 * cannot be made to fit is a refusal.
 *
 * Throws AppError invalid_request for impossible hardware or settings.
 */
export function planFit(model: ModelSpec, hardware: Hardware, wish: Wish = {}): FitPlan | FitRefusal {
  checkHardware(hardware);
  checkWish(model, wish);
  const machine = prepareMachine(hardware, wish);
  const start = startingSettings(model, wish, startingQuantization(model, wish));
  if (wish.gpuLayers !== undefined && wish.contextLength !== undefined) {
    const layers = Math.min(wish.gpuLayers, offloadableLayers(model));
    const gpuLayers = machine.gpus.length === 0 ? 0 : layers;
    const candidate = evaluate(model, machine, start, { gpuLayers, hostExpertLayers: wish.hostExpertLayers ?? 0 });
    return describe(model, machine, { candidate, steps: [] });
  }
  const { steps, ...tried } = search(model, machine, start, wish);
  const found: Found = { candidate: exactly(model, machine, tried.candidate), steps };
  if (found.candidate.fits) return describe(model, machine, found);
  return refuse(model, machine, found, wish);
}

function startingQuantization(model: ModelSpec, wish: Wish): string | undefined {
  if (wish.quantization !== undefined) return wish.quantization;
  return hasTensorTypes(model) ? undefined : (model.quantization ?? quantizationDefault);
}

function refuse(model: ModelSpec, machine: Machine, found: Found, wish: Wish): FitRefusal {
  const { candidate } = found;
  const refusal: FitRefusal = {
    kind: "refusal",
    model: about(model, candidate),
    reason: reasonOf(model, machine, candidate),
    shortfallBytes: Math.max(0, candidate.shortfallBytes),
    nearest: describe(model, machine, found),
    assumptions: [...model.assumptions, ...machine.assumptions],
  };
  if (wish.gpuLayers !== undefined) {
    const { gpuLayers: _dropped, ...open } = wish;
    const other = planFit(model, machine.hardware, open);
    if (other.kind === "plan") refusal.nearest = other;
  }
  return refusal;
}

function reasonOf(model: ModelSpec, machine: Machine, { estimate, shortfallBytes }: Candidate): string {
  const gpus = estimate.gpus.reduce((sum, gpu) => sum + gpu.totalBytes, 0);
  const where =
    gpus > 0
      ? `${formatBytes(gpus)} of GPU memory and ${formatBytes(estimate.host.totalBytes)}`
      : formatBytes(estimate.host.totalBytes);
  const short = formatBytes(Math.max(0, shortfallBytes));
  const name = machine.hardware.name ?? "this machine";
  const most = allocationMax(machine.hardware.backend);
  if (estimate.largestTensorBytes > most) {
    const piece = formatBytes(estimate.largestTensorBytes);
    return `${model.name} needs ${piece} in one piece; Vulkan allocates at most ${formatBytes(most)} at a time.`;
  }
  return `${model.name} needs at least ${where} of main memory; ${name} is ${short} short.`;
}

function about(model: ModelSpec, candidate: Candidate): FitPlan["model"] {
  return {
    name: model.name,
    quantization: candidate.settings.quantization ?? model.quantization ?? "as in the file",
    parameterCount: model.parameterCount,
    provenance: model.provenance,
  };
}

function describe(model: ModelSpec, machine: Machine, { candidate, steps }: Found): FitPlan {
  const { settings, estimate } = candidate;
  const devices: DeviceBreakdown[] = machine.hardware.gpus.map((gpu, index) => {
    const one = breakdown(gpu.id, "gpu", estimate.gpus[index]!, machine.gpus[index]!.bytes);
    if (gpu.name !== undefined) one.name = gpu.name;
    return one;
  });
  devices.push(breakdown("host", "host", estimate.host, machine.host.bytes));
  const quantization = settings.quantization ?? model.quantization;
  return {
    kind: "plan",
    model: about(model, candidate),
    fits: candidate.fits,
    probability: candidate.probability,
    offload: settings.gpuLayers === 0 ? "none" : isFull(model, candidate) ? "full" : "partial",
    settings: quantization === undefined ? settings : { ...settings, quantization },
    devices,
    steps,
    assumptions: [...model.assumptions, ...machine.assumptions],
  };
}

function isFull(model: ModelSpec, { settings }: Candidate): boolean {
  return settings.gpuLayers >= offloadableLayers(model) && settings.hostExpertLayers === 0;
}

function breakdown(id: string, kind: "gpu" | "host", memory: DeviceMemory, freeBytesBefore: number): DeviceBreakdown {
  return { id, kind, ...memory, freeBytesBefore, freeBytesAfter: freeBytesBefore - memory.totalBytes };
}
