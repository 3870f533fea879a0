/** Bytes of a model under any quantization the planner knows by name. */
import { AppError } from "../core/errors.ts";
import { type TensorType, tensorBytes } from "./quantization.ts";
import { formatTensorBytes, isFormatName } from "./quantization-formats.ts";
import {
  fileWeightBytes,
  isLlamaMix,
  mixWeightBytes,
  mixWeightSummary,
  quantizationTypes,
  summarize,
  sumWeightBytes,
  type WeightBytes,
  type WeightSummary,
} from "./quantization-mixes.ts";
import { isInputName, type QuantizableModel, shapeOf } from "./quantization-shape.ts";
import { DYNAMIC_MIXES, dynamicFactor, isDynamicMix, isLargeMix, LARGE_MIXES } from "./quantization-variants.ts";

/**
 * Bytes of a model's weights by part.
 *
 * @throws AppError invalid_request for a name that is none of `QUANTIZATIONS`.
 */
export function quantizationWeightBytes(model: QuantizableModel, name: string): WeightBytes {
  if (isLlamaMix(name)) return mixWeightBytes(model, name);
  if (isLargeMix(name)) return mixWeightBytes(model, LARGE_MIXES[name], { tableType: "Q8_0" });
  if (isDynamicMix(name)) {
    const mix = DYNAMIC_MIXES[name];
    return scaled(mixWeightBytes(model, mix.base), dynamicFactor(mix, model));
  }
  if (isFormatName(name)) {
    const hasExperts = model.expertCount > 1;
    return sumWeightBytes(model, (group) => {
      const bytes = formatTensorBytes(name, group, hasExperts);
      return () => bytes;
    });
  }
  throw unknownQuantization(name);
}

/** `quantizationWeightBytes(model, name).total`, without the parts: cheap enough for a whole catalogue. */
export function quantizationTotalBytes(model: QuantizableModel, name: string): number {
  if (isLlamaMix(name)) return fileWeightBytes(model, name);
  if (isLargeMix(name)) return fileWeightBytes(model, LARGE_MIXES[name], { tableType: "Q8_0" });
  if (isDynamicMix(name)) {
    const mix = DYNAMIC_MIXES[name];
    return Math.round(fileWeightBytes(model, mix.base) * dynamicFactor(mix, model));
  }
  if (isFormatName(name)) {
    const hasExperts = model.expertCount > 1;
    let bytes = 0;
    for (const group of shapeOf(model).groups)
      bytes += group.members.length * formatTensorBytes(name, group, hasExperts);
    return bytes;
  }
  throw unknownQuantization(name);
}

/** `quantizationWeightBytes` with the blocks together: cheap enough for a whole catalogue. */
export function quantizationWeightSummary(model: QuantizableModel, name: string): WeightSummary {
  if (isLlamaMix(name)) return mixWeightSummary(model, name);
  if (isLargeMix(name)) return mixWeightSummary(model, LARGE_MIXES[name], { tableType: "Q8_0" });
  if (isDynamicMix(name)) {
    const mix = DYNAMIC_MIXES[name];
    const sum = mixWeightSummary(model, mix.base);
    const total = sum.total * dynamicFactor(mix, model);
    const rest = restFactor(sum, total);
    return { ...sum, total, output: sum.output * rest, blocks: sum.blocks * rest, experts: sum.experts * rest };
  }
  if (!isFormatName(name)) throw unknownQuantization(name);
  const hasExperts = model.expertCount > 1;
  return summarize(shapeOf(model), (group) => group.members.length * formatTensorBytes(name, group, hasExperts));
}

/**
 * Bytes of single tensors, by their place in `model.tensors`: for questions about a few of them.
 *
 * @throws AppError invalid_request for an unknown name.
 */
export function quantizationTensorBytes(model: QuantizableModel, name: string): (index: number) => number {
  if (isFormatName(name)) {
    const sizes = new Float64Array(model.tensors.length);
    for (const group of shapeOf(model).groups) {
      const bytes = formatTensorBytes(name, group, model.expertCount > 1);
      for (const member of group.members) sizes[member.index] = bytes;
    }
    return (index) => sizes[index]!;
  }
  const { types, rest } = typesOf(model, name);
  return (index) => {
    const { name: tensor, dims } = model.tensors[index]!;
    return tensorBytes(types[index]!, dims) * (rest === 1 || isInputName(tensor) ? 1 : rest);
  };
}

function typesOf(model: QuantizableModel, name: string): { types: TensorType[]; rest: number } {
  if (isLlamaMix(name)) return { types: quantizationTypes(model, name), rest: 1 };
  if (isLargeMix(name)) return { types: quantizationTypes(model, LARGE_MIXES[name], { tableType: "Q8_0" }), rest: 1 };
  if (!isDynamicMix(name)) throw unknownQuantization(name);
  const mix = DYNAMIC_MIXES[name];
  const sum = mixWeightSummary(model, mix.base);
  return { types: quantizationTypes(model, mix.base), rest: restFactor(sum, sum.total * dynamicFactor(mix, model)) };
}

/** Dynamic mixes leave the token embedding as it is (seen in load logs): the difference is in all the rest. */
function restFactor({ total, input }: { total: number; input: number }, wanted: number): number {
  return Math.max(0.1, (wanted - input) / (total - input));
}

/** Size of the file to download: the weights, and for GGUF a header that mostly holds the vocabulary. */
export function estimateFileBytes(model: QuantizableModel & { vocabularySize: number }, name: string): number {
  const weights = quantizationTotalBytes(model, name);
  return isFormatName(name) ? weights : weights + headerBytes(model);
}

/** Bytes of text per token, with merges where the tokenizer has them: measured on the published files of each kind. */
function headerBytes({ architecture, vocabularySize }: { architecture: string; vocabularySize: number }): number {
  if (architecture.startsWith("gemma")) return vocabularySize * 25;
  if (vocabularySize <= 65_536) return vocabularySize * 24;
  if (architecture.startsWith("qwen")) return vocabularySize * 42;
  if (architecture.startsWith("phi")) return vocabularySize * 39;
  return vocabularySize * 61;
}

function scaled(bytes: WeightBytes, factor: number): WeightBytes {
  const total = Math.round(bytes.total * factor);
  const rest = restFactor(bytes, total);
  const scale = (value: number) => Math.round(value * rest);
  const layers = bytes.layers.map(scale);
  // What rounding left over goes to the output, so that the parts still sum to the total.
  const output = layers.reduce((left, layer) => left - layer, total - bytes.input);
  return { ...bytes, total, output, layers, experts: bytes.experts.map(scale) };
}

function unknownQuantization(name: string): AppError {
  return new AppError(
    "invalid_request",
    `${JSON.stringify(name.slice(0, 40))} is no quantization Snug knows. Try Q4_K_M, or Q8_0, or bf16.`,
    { param: "quantization" },
  );
}
