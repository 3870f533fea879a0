import { describe, expect, it } from "vitest";
import { CATALOGUE_MODELS, findCatalogueModel, specFromCatalogue, suggestModels } from "./catalogue.ts";
import { tokensOf } from "./catalogue-names.ts";
import { countElements } from "./shapes.ts";

const byName = (name: string) => {
  const model = CATALOGUE_MODELS.find((one) => one.name === name);
  if (model === undefined) throw new Error(`${name} is not in the catalogue`);
  return model;
};

describe("catalogue rows", () => {
  it("lists at least 150 models with ids, names and aliases of their own", () => {
    expect(CATALOGUE_MODELS.length).toBeGreaterThanOrEqual(150);
    expect(new Set(CATALOGUE_MODELS.map(({ id }) => id)).size).toBe(CATALOGUE_MODELS.length);
    const names = CATALOGUE_MODELS.flatMap(({ name, aliases }) => [name, ...aliases]).map((name) => name.toLowerCase());
    expect(names.filter((name, at) => names.indexOf(name) !== at)).toEqual([]);
  });

  it("says of every model where its facts come from, what it is for and when it appeared", () => {
    for (const model of CATALOGUE_MODELS) {
      expect(model.source, model.name).toMatch(/\S{4}/);
      expect(model.uses.length, model.name).toBeGreaterThan(0);
      expect(model.release, model.name).toMatch(/^20[12]\d-(?:0[1-9]|1[0-2])$/);
      expect(model.repository, model.name).toMatch(/^[\w.-]+\/[\w.-]+$/);
      expect(model.license, model.name).toMatch(/^[a-z0-9.-]+$/);
      if (model.ggufRepository !== undefined) expect(model.ggufRepository).toMatch(/^[\w.-]+\/[\w.-]+$/);
    }
  });

  it("covers the families people run", () => {
    const families = new Set(CATALOGUE_MODELS.map(({ family }) => family));
    for (const family of [
      ...["qwen", "qwen1.5", "qwen2", "qwen2.5", "qwen3", "qwen3moe", "qwen3next", "qwen3.5", "llama2", "llama3.1"],
      ...["llama4", "gemma2", "gemma3", "gemma3n", "gemma4", "mistral", "mistral3", "phi", "gpt-oss", "deepseek"],
      ...["deepseek-distill", "glm", "glm4moe", "granite", "granite4h", "lfm2", "nemotron-h", "ernie", "smollm", "yi"],
      ...["olmo", "falcon3", "falcon-h1", "cohere", "exaone", "kimi", "starcoder2", "embedding", "mamba"],
    ]) {
      expect(families, family).toContain(family);
    }
  });

  it("lists the newest models first", () => {
    const releases = CATALOGUE_MODELS.map(({ release }) => release);
    expect(releases).toEqual([...releases].sort().reverse());
  });
});

describe("parameter counts", () => {
  it.each(CATALOGUE_MODELS.map((model) => [model.name, model] as const))(
    "the tensors of %s add up to its parameter count within 0.1 %%",
    (_name, model) => {
      const { tensors } = specFromCatalogue(model);
      expect(Math.abs(countElements(tensors) / model.parameterCount - 1)).toBeLessThan(0.001);
      expect(new Set(tensors.map(({ name }) => name)).size).toBe(tensors.length);
    },
  );

  /** Totals of the safetensors files as the Hugging Face Hub reports them: text models, nothing but the language part. */
  it.each([
    ["Llama 3.1 8B", 8_030_261_248],
    ["Llama 3.2 1B", 1_235_814_400],
    ["Llama 3.3 70B", 70_553_706_496],
    ["Mistral 7B v0.3", 7_248_023_552],
    ["Ministral 8B 2410", 8_019_808_256],
    ["Qwen2.5 0.5B", 494_032_768],
    ["Qwen2.5 7B", 7_615_616_512],
    ["Qwen3 4B", 4_022_468_096],
    ["Qwen3 32B", 32_762_123_264],
    ["Qwen3 Embedding 0.6B", 595_776_512],
    ["Gemma 2 2B", 2_614_341_888],
    ["Gemma 3 1B", 999_885_952],
    ["EmbeddingGemma 300M", 302_863_104],
    ["Phi 4 14B", 14_659_507_200],
    ["Phi 4 Mini", 3_836_021_760],
    ["SmolLM3 3B", 3_075_098_624],
    ["Granite 3.3 8B", 8_170_864_640],
    ["Granite 4.0 1B", 1_631_750_144],
    ["Granite 4.1 8B", 8_791_592_960],
    ["Granite 4.0 H Small 32B A9B", 32_207_337_984],
    ["Nemotron Nano 9B v2", 8_888_227_328],
    ["gpt-oss 20B", 20_914_757_184],
    ["gpt-oss 120B", 116_829_156_672],
    ["GLM 4.5 Air 106B A12B", 110_468_824_832],
    ["GLM 4.5 355B A32B", 358_337_791_296],
    ["MiniMax M2 230B A10B", 228_689_764_864],
    ["Seed OSS 36B", 36_151_104_512],
    ["LFM2 2.6B", 2_569_272_320],
    ["Ling mini 2.0 16B A1B", 16_255_643_392],
    ["OLMo 2 7B", 7_298_617_344],
    ["nomic embed text v1.5", 136_731_648],
  ])("the tensors of %s are the published weights to the last thousand", (name, published) => {
    expect(Math.abs(countElements(specFromCatalogue(byName(name)).tensors) - published)).toBeLessThan(1000);
  });

  /** As llama.cpp printed them on loading the files, billions rounded to two places. */
  it.each([
    ["Qwen3.8 27B", 27.32],
    ["Qwen3.5 35B A3B", 34.66],
    ["Gemma 4 E4B", 7.46],
    ["Gemma 4 12B", 11.91],
    ["Ministral 3 8B", 8.49],
    ["Granite 4.1 8B", 8.79],
    ["Qwen3 30B A3B", 30.53],
    ["GLM Z1 32B 0414", 32.57],
    ["Llama 3.1 Nemotron Ultra 253B", 253.4],
  ])("the tensors of %s add up to what the loader prints", (name, billions) => {
    expect(countElements(specFromCatalogue(byName(name)).tensors) / 1e9).toBeCloseTo(billions, 2);
  });

  it.each([
    ["Qwen3 30B A3B", 3.35],
    ["Mixtral 8x7B", 12.88],
    ["Mixtral 8x22B", 39.16],
    ["Qwen3 235B A22B", 22.19],
    ["gpt-oss 120B", 5.71],
    ["DeepSeek V3 671B", 37.55],
  ])("%s reads %s billion parameters per token", (name, billions) => {
    expect(specFromCatalogue(byName(name)).activeParameterCount / 1e9).toBeCloseTo(billions, 1);
  });

  it("a dense model reads all its parameters", () => {
    const spec = specFromCatalogue(byName("Llama 3.1 8B"));
    expect(spec.activeParameterCount).toBe(spec.parameterCount);
  });
});

describe("specFromCatalogue", () => {
  it("builds a spec once", () => {
    const model = byName("Qwen3 8B");
    expect(specFromCatalogue(model)).toBe(specFromCatalogue(model));
    expect(specFromCatalogue(model).tensors).toBe(specFromCatalogue(model).tensors);
  });

  it("assumes nothing", () => {
    for (const model of CATALOGUE_MODELS) expect(specFromCatalogue(model).assumptions, model.name).toEqual([]);
  });

  it("knows the projector of a vision model", () => {
    expect(specFromCatalogue(byName("Gemma 3 4B")).projectorBytes).toBe(839_632_608);
  });
});

describe("findCatalogueModel", () => {
  it.each([
    ["Qwen3 8B", "Qwen3 8B"],
    ["qwen3-8b", "Qwen3 8B"],
    ["qwen3:8b", "Qwen3 8B"],
    ["QWEN 3 8B", "Qwen3 8B"],
    ["qwen3_8b", "Qwen3 8B"],
    ["Qwen/Qwen3-8B", "Qwen3 8B"],
    ["Qwen/Qwen3-8B-GGUF", "Qwen3 8B"],
    ["hf:Qwen/Qwen3-8B-GGUF:Q4_K_M", "Qwen3 8B"],
    ["https://huggingface.co/Qwen/Qwen3-8B-GGUF", "Qwen3 8B"],
    ["Qwen3-8B-Q4_K_M.gguf", "Qwen3 8B"],
    ["unsloth/Qwen3-8B-UD-Q4_K_XL", "Qwen3 8B"],
    ["Qwen3-8B-AWQ", "Qwen3 8B"],
    ["qwen3:8b-q8_0", "Qwen3 8B"],
    ["qwen3 0.6b", "Qwen3 0.6B"],
    ["qwen3 600m", "Qwen3 0.6B"],
    ["qwen3:30b", "Qwen3 30B A3B"],
    ["qwen3:30b-a3b", "Qwen3 30B A3B"],
    ["qwen3 235b", "Qwen3 235B A22B"],
    ["Qwen3-30B-A3B-Instruct-2507", "Qwen3 30B A3B 2507"],
    ["Qwen3-4B-Thinking-2507", "Qwen3 4B 2507"],
    ["qwen3-coder:30b", "Qwen3 Coder 30B A3B"],
    ["qwen3 coder 480b", "Qwen3 Coder 480B A35B"],
    ["qwen3-coder-next", "Qwen3 Coder Next 80B A3B"],
    ["qwen3-next-80b-a3b-thinking", "Qwen3 Next 80B A3B"],
    ["qwen3-vl:8b", "Qwen3 VL 8B"],
    ["qwen3.5:9b", "Qwen3.5 9B"],
    ["qwen 3.5 35b a3b", "Qwen3.5 35B A3B"],
    ["qwen3.6 27b", "Qwen3.6 27B"],
    ["qwen3.8", "Qwen3.8 27B"],
    ["qwen2.5:7b-instruct", "Qwen2.5 7B"],
    ["Qwen2.5-Coder-32B-Instruct-GGUF", "Qwen2.5 Coder 32B"],
    ["qwen2.5vl:7b", "Qwen2.5 VL 7B"],
    ["qwq", "QwQ 32B"],
    ["qwq:32b", "QwQ 32B"],
    ["qwen:7b", "Qwen 7B"],
    ["qwen1.5-14b-chat", "Qwen1.5 14B"],
    ["llama 3.1 8b", "Llama 3.1 8B"],
    ["llama3.1:8b", "Llama 3.1 8B"],
    ["llama-3.1-8b-instruct", "Llama 3.1 8B"],
    ["Llama-3-1-8B", "Llama 3.1 8B"],
    ["Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf", "Llama 3.1 8B"],
    ["meta-llama/Llama-3.1-8B-Instruct", "Llama 3.1 8B"],
    ["Llama-3.1-8B-Lexi-Uncensored-V2", "Llama 3.1 8B"],
    ["llama3:8b", "Llama 3 8B"],
    ["llama3:70b", "Llama 3 70B"],
    ["llama 3.3", "Llama 3.3 70B"],
    ["llama3.2:1b", "Llama 3.2 1B"],
    ["llama 2 13b chat", "Llama 2 13B"],
    ["llama2:13b", "Llama 2 13B"],
    ["llama4:scout", "Llama 4 Scout 17B 16E"],
    ["llama 4 maverick", "Llama 4 Maverick 17B 128E"],
    ["codellama:34b", "CodeLlama 34B"],
    ["hermes 3 8b", "Hermes 3 Llama 3.1 8B"],
    ["tinyllama", "TinyLlama 1.1B"],
    ["gemma3:4b", "Gemma 3 4B"],
    ["google/gemma-3-27b-it-qat-q4_0-gguf", "Gemma 3 27B"],
    ["gemma 2 9b it", "Gemma 2 9B"],
    ["gemma3n:e4b", "Gemma 3n E4B"],
    ["gemma 4 e4b", "Gemma 4 E4B"],
    ["gemma-4-26b-a4b-it", "Gemma 4 26B A4B"],
    ["gemma4:31b", "Gemma 4 31B"],
    ["mistral", "Mistral 7B v0.3"],
    ["mistral:7b-instruct", "Mistral 7B v0.3"],
    ["Mistral-7B-Instruct-v0.3", "Mistral 7B v0.3"],
    ["mistral nemo", "Mistral Nemo 12B"],
    ["mixtral:8x7b", "Mixtral 8x7B"],
    ["mixtral 8x22b", "Mixtral 8x22B"],
    ["mistral-small3.2", "Mistral Small 3.2 24B"],
    ["Mistral-Small-24B-Instruct-2501", "Mistral Small 3 24B"],
    ["devstral small 2", "Devstral Small 2 24B"],
    ["ministral 3 8b", "Ministral 3 8B"],
    ["codestral", "Codestral 22B"],
    ["phi4", "Phi 4 14B"],
    ["phi-4-mini-instruct", "Phi 4 Mini"],
    ["phi3:mini", "Phi 3 Mini 4k"],
    ["phi3.5", "Phi 3.5 Mini"],
    ["gpt-oss:20b", "gpt-oss 20B"],
    ["gpt oss 20b", "gpt-oss 20B"],
    ["gptoss 120b", "gpt-oss 120B"],
    ["openai/gpt-oss-120b", "gpt-oss 120B"],
    ["deepseek-r1:8b", "DeepSeek R1 0528 Qwen3 8B"],
    ["deepseek-r1:14b", "DeepSeek R1 Distill Qwen 14B"],
    ["deepseek-r1:70b", "DeepSeek R1 Distill Llama 70B"],
    ["DeepSeek-R1-Distill-Qwen-32B", "DeepSeek R1 Distill Qwen 32B"],
    ["deepseek r1", "DeepSeek R1 671B"],
    ["deepseek-v3.1", "DeepSeek V3.1 671B"],
    ["deepseek coder v2", "DeepSeek Coder V2 Lite 16B"],
    ["deepseek-coder:6.7b", "DeepSeek Coder 6.7B"],
    ["glm-4.5-air", "GLM 4.5 Air 106B A12B"],
    ["GLM 4.7 flash", "GLM 4.7 Flash 30B A3B"],
    ["glm4:9b", "GLM 4 9B 0414"],
    ["granite3.3:8b", "Granite 3.3 8B"],
    ["granite 4.0 h tiny", "Granite 4.0 H Tiny 7B A1B"],
    ["lfm2 1.2b", "LFM2 1.2B"],
    ["LiquidAI/LFM2-8B-A1B-GGUF", "LFM2 8B A1B"],
    ["nemotron 3 nano 30b", "Nemotron 3 Nano 30B A3B"],
    ["smollm2:135m", "SmolLM2 135M"],
    ["smollm3", "SmolLM3 3B"],
    ["yi:34b", "Yi 1.5 34B"],
    ["olmo 2 7b", "OLMo 2 7B"],
    ["falcon3:7b", "Falcon3 7B"],
    ["command-r7b", "Command R7B"],
    ["command r plus", "Command R+ 104B"],
    ["exaone3.5:7.8b", "EXAONE 3.5 7.8B"],
    ["kimi k2", "Kimi K2 1T"],
    ["ernie 4.5 21b a3b", "ERNIE 4.5 21B A3B"],
    ["starcoder2:15b", "StarCoder2 15B"],
    ["nomic-embed-text", "nomic embed text v1.5"],
    ["bge-m3", "BGE M3"],
    ["all-minilm", "all MiniLM L6 v2"],
    ["qwen3-embedding:4b", "Qwen3 Embedding 4B"],
    ["THUDM/glm-4-9b-chat", "GLM 4 9B Chat"],
    ["DeepSeek-R1-0528-Qwen3-8B-Q4_K_M", "DeepSeek R1 0528 Qwen3 8B"],
    ["kimi-k2-instruct-0905", "Kimi K2 1T"],
    ["deepseek v3", "DeepSeek V3 671B"],
  ])("%s means %s", (text, name) => {
    expect(findCatalogueModel(text)?.model.name).toBe(name);
  });

  it.each(
    CATALOGUE_MODELS.flatMap((model) => [
      [model.name, model.name] as const,
      [model.repository ?? "", model.name] as const,
    ]),
  )("the name or repository %s means %s", (text, name) => {
    expect(findCatalogueModel(text)?.model.name).toBe(name);
  });

  it.each([
    "",
    "   ",
    "13b",
    "7b q4_k_m",
    "hello world",
    "qwen 4 8b",
    "llama 3.1 9b",
    "gemma 5",
    "deepseek v9",
    "deepseek v9 671b",
    "mistral 7b v0.9",
    "gpt-4o",
    "8x7b",
    "-",
    "🙂",
  ])("%j names no model", (text) => {
    expect(findCatalogueModel(text)).toBeUndefined();
  });

  it("takes the newest of several and names the others", () => {
    const found = findCatalogueModel("qwen3.5");
    expect(found?.model.name).toBe("Qwen3.5 9B");
    expect(found?.also.map(({ name }) => name)).toContain("Qwen3.5 4B");
    expect(found?.also).not.toContain(found?.model);
  });

  it("bounds what it reads", () => {
    expect(findCatalogueModel("qwen".repeat(100_000))).toBeUndefined();
    expect(findCatalogueModel("-".repeat(100_000))).toBeUndefined();
  });
});

describe("suggestModels", () => {
  it.each([
    ["lama 3.1 8b", "Llama 3.1 8B"],
    ["qwne3 8b", "Qwen3 8B"],
    ["gema 3 4b", "Gemma 3 4B"],
    ["mistrl nemo", "Mistral Nemo 12B"],
    ["deepsek r1 14b", "DeepSeek R1 Distill Qwen 14B"],
    ["phi 4 mni", "Phi 4 Mini"],
  ])("for %s offers %s first", (text, name) => {
    expect(suggestModels(text, 3)[0]?.name).toBe(name);
  });

  it("offers nothing for noise, and never more than asked for", () => {
    expect(suggestModels("xyzzy plugh frobnicate", 5)).toEqual([]);
    expect(suggestModels("qwen3 8", 2).length).toBeLessThanOrEqual(2);
  });
});

describe("tokensOf", () => {
  it("drops packing and tuning, keeps family, version and size", () => {
    expect(tokensOf("bartowski/Meta-Llama-3.1-8B-Instruct-GGUF")).toMatchObject({
      words: ["meta", "llama"],
      numbers: ["3.1"],
      sizes: ["8b"],
    });
  });

  it("reads millions and trillions as billions", () => {
    expect(tokensOf("x 600m").sizes).toEqual(["0.6b"]);
    expect(tokensOf("x 1t").sizes).toEqual(["1000b"]);
  });
});
