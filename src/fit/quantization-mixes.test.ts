import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  fileWeightBytes,
  isLlamaMix,
  mixWeightBytes,
  quantizationTypes,
  typedWeightBytes,
} from "./quantization-mixes.ts";
import { LLAMA_MIXES } from "./quantization-rules.ts";
import type { QuantizableModel } from "./quantization-shape.ts";
import type { TensorSpec } from "./types.ts";

interface TensorFacts {
  row: number;
  blocks: string | null;
  stacked?: boolean;
}
interface MixFacts {
  base: string;
  except: Record<string, Record<string, string>>;
}

interface SelectedModel {
  name: string;
  architecture: string;
  layerCount: number;
  headCount: number;
  headCountKv: number;
  expertCount: number;
  tensors: Record<string, TensorFacts>;
  mixes: Record<string, MixFacts>;
}

/** Facts and their source on the first line, one model on each further one. */
const fixture = new URL("../../test/fixtures/quantization-selection.jsonl", import.meta.url);
const selected = readFileSync(fixture, "utf8")
  .trim()
  .split("\n")
  .slice(1)
  .map((line): SelectedModel => JSON.parse(line));

function blocksOf(ranges: string): number[] {
  return ranges.split(",").flatMap((range) => {
    const [from, to] = range.split("-").map(Number);
    return Array.from({ length: (to ?? from!) - from! + 1 }, (_, index) => from! + index);
  });
}

function modelOf(facts: SelectedModel): QuantizableModel {
  const tensors: TensorSpec[] = [];
  for (const [suffix, { row, blocks, stacked }] of Object.entries(facts.tensors)) {
    const dims = stacked ? [row, 64, 8] : [row, 64];
    if (blocks === null) tensors.push({ name: suffix, dims });
    else for (const block of blocksOf(blocks)) tensors.push({ name: `blk.${block}.${suffix}`, dims });
  }
  const { headCount, headCountKv, layerCount } = facts;
  const layers = Array.from({ length: layerCount }, () => ({ headCount, headCountKv }));
  return { architecture: facts.architecture, layerCount, layers, expertCount: facts.expertCount, tensors };
}

function expectedType(mix: MixFacts, name: string): string {
  const [, block, blockSuffix] = /^blk\.(\d+)\.(.*)$/.exec(name) ?? [];
  for (const [type, blocks] of Object.entries(mix.except[blockSuffix ?? name] ?? {})) {
    if (blocks === "*" || block === undefined || blocksOf(blocks).includes(Number(block))) return type;
  }
  return mix.base;
}

describe.each(selected.map((facts) => [facts.name, facts] as const))("llama.cpp's selection for %s", (_, facts) => {
  const model = modelOf(facts);
  const mixes = Object.entries(facts.mixes);

  it.each(mixes.filter(([mix]) => isLlamaMix(mix)))("%s gives every tensor the same type", (mix, expected) => {
    if (!isLlamaMix(mix)) throw new Error(mix);
    const types = quantizationTypes(model, mix, { importanceMatrix: false });
    const wrong = model.tensors.flatMap(({ name }, index) => {
      // Published only with MXFP4 experts, which keep their type here; the reference treats them as 16-bit floats.
      if (facts.architecture === "gpt-oss" && name.includes("_exps")) return [];
      const wanted = expectedType(expected, name);
      return types[index] === wanted ? [] : [`${name}: ${types[index]}, not ${wanted}`];
    });
    expect(wrong).toEqual([]);
  });

  it("class sums equal the sums over tensors, for every mix", () => {
    for (const mix of LLAMA_MIXES) {
      const bytes = typedWeightBytes(model, quantizationTypes(model, mix));
      expect(fileWeightBytes(model, mix), mix).toBe(bytes.total);
      expect(mixWeightBytes(model, mix), mix).toEqual(bytes);
    }
  });
});
