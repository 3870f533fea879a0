/** One plan with what it is worth: its speed and its quality beside its bytes. */

import type { FrameworkVersion } from "./frameworks.ts";
import { isEncoder } from "./memory-weights.ts";
import { planFit } from "./plan.ts";
import { estimateQuality, type QualityEstimate } from "./quality.ts";
import type { Framework } from "./query-types.ts";
import { estimateSpeed, type MeasuredRun, type SpeedEstimate } from "./speed.ts";
import type { BuildFamily, FitPlan, FitRefusal, Hardware, ModelSpec, Wish } from "./types.ts";

/** A plan, its predicted speed and the quality its quantization keeps. */
export interface PlannedFit extends FitPlan {
  /** Set where Transformers or vLLM runs it; the llama.cpp settings then hold context, sequences and layers only. */
  framework?: "transformers" | "vllm";
  /** The model makes vectors: it reads and writes nothing, so its decode figures say nothing. */
  vectors?: true;
  speed: SpeedEstimate;
  quality: QualityEstimate;
}

/** What a plan's speed is asked for. */
export interface PlanQuestion {
  promptTokens?: number;
  /** Transformers and vLLM: tokens of the context that are generated, default 512, and which generation of the code runs. */
  generatedTokens?: number;
  frameworkVersion?: FrameworkVersion;
  measured?: readonly MeasuredRun[];
}

/** Whether the model turns text into vectors: an encoder by its build, a decoder by the catalogue's word. */
export function makesVectors(model: ModelSpec, uses: readonly string[] = []): boolean {
  return uses.includes("embedding") || isEncoder(model.architecture);
}

/** The plan of a model that makes vectors; quality was measured on models that write. */
export function asVectors(plan: PlannedFit): PlannedFit {
  return { ...plan, vectors: true, quality: { source: "no published measurement of its vectors is at hand" } };
}

/** Plans and prices; a refusal comes back as the planner gave it. Throws what `planFit` throws. */
export function planWithFigures(
  model: ModelSpec,
  hardware: Hardware,
  wish: Wish,
  question: PlanQuestion = {},
): PlannedFit | FitRefusal {
  const plan = planFit(model, hardware, wish);
  return plan.kind === "plan" ? withFigures(plan, model, hardware, question) : plan;
}

export function withFigures(
  plan: FitPlan,
  model: ModelSpec,
  hardware: Hardware,
  question: PlanQuestion = {},
): PlannedFit {
  const speed = estimateSpeed({
    model,
    plan,
    hardware,
    ...(question.promptTokens !== undefined && { promptTokens: question.promptTokens }),
    ...(question.measured !== undefined && { measured: question.measured }),
  });
  return { ...plan, speed, quality: estimateQuality(model, plan.model.quantization) };
}

/** The build whose allocations a framework's plan must follow. */
export function buildFamilyOf(framework: Framework | undefined): BuildFamily {
  return framework === "llama.cpp" || framework === "ollama" || framework === "lmstudio"
    ? "llama-server"
    : "node-llama-cpp";
}

/**
 * What the software asked for fixes. Its recipe gives each of several users a context of their own, so the plan counts
 * a cache for each.
 */
export function wishOfFramework(framework: Framework | undefined): Pick<Wish, "buildFamily" | "slotCaches"> {
  const buildFamily = buildFamilyOf(framework);
  return buildFamily === "llama-server" ? { buildFamily, slotCaches: true } : { buildFamily };
}

/** Layers in all, the output layer counted as one. */
export function layersOf(model: ModelSpec): number {
  return model.layers.length + 1;
}

/** Layers of a plan's model, the output layer included; a device's count holds the layers that lie on it. */
export function layersTotal(plan: Pick<FitPlan, "devices">): number {
  return plan.devices.reduce((sum, { layers }) => sum + layers, 0);
}

/** Bytes of VRAM, or of main memory where no GPU takes part. */
export function deviceBytes(plan: Pick<FitPlan, "devices" | "offload">): number {
  const gpus = plan.devices.filter(({ kind }) => kind === "gpu").reduce((sum, { totalBytes }) => sum + totalBytes, 0);
  return gpus > 0 ? gpus : plan.devices.reduce((sum, { totalBytes }) => sum + totalBytes, 0);
}
