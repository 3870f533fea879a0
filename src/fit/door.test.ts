import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { writeModel } from "../../test/support/gguf/write-model.ts";
import { AppError } from "../core/errors.ts";
import { GIB } from "../core/units.ts";
import { answerFitsLine, answerFitsRequest, type DoorDependencies } from "./door.ts";
import { hardwareOf } from "./door-hardware.ts";
import { fitsReplySchema } from "./door-schema.ts";
import { parseGguf } from "./gguf.ts";
import { bufferSource } from "./gguf-source.ts";

const folder = mkdtempSync(join(tmpdir(), "door-"));
afterAll(() => rmSync(folder, { recursive: true }));

const dependencies: DoorDependencies = {
  loadGguf: async (location) => {
    if (!location.startsWith(folder)) throw new AppError("model_not_found", `There is no file ${location}.`);
    return { header: await parseGguf(bufferSource(readFileSync(location))) };
  },
};

/** The reply, checked against its schema. */
async function ask(body: unknown) {
  const reply = await answerFitsRequest(body, dependencies);
  expect(fitsReplySchema.safeParse(reply).error?.issues ?? []).toEqual([]);
  return reply;
}

async function planOf(body: object) {
  const reply = await ask(body);
  if (!("plan" in reply)) throw new Error(JSON.stringify(reply));
  return reply.plan;
}

async function errorOf(body: unknown) {
  const reply = await ask(body);
  if (!("error" in reply)) throw new Error(JSON.stringify(reply).slice(0, 200));
  return reply.error;
}

const llamaConfig = {
  model_type: "llama",
  architectures: ["LlamaForCausalLM"],
  hidden_size: 4096,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  num_key_value_heads: 8,
  intermediate_size: 14_336,
  vocab_size: 128_256,
  max_position_embeddings: 8192,
  tie_word_embeddings: false,
};

const llamaMetadata = {
  "general.architecture": "llama",
  "llama.block_count": 32,
  "llama.embedding_length": 4096,
  "llama.attention.head_count": 32,
  "llama.attention.head_count_kv": 8,
  "llama.feed_forward_length": 14_336,
  "llama.context_length": 8192,
  "llama.vocab_size": 128_256,
};

const card = { devices: [{ vramBytesTotal: 12 * GIB, vramBytesFree: 11 * GIB }], ramBytesFree: 32 * GIB };
const settings = {
  contextLength: 4096,
  sequenceCount: 1,
  batchSize: 512,
  gpuLayers: 33,
  kvCacheTypeK: "f16",
  kvCacheTypeV: "F16",
};

describe("a request with a model and hardware", () => {
  it("is answered by a plan whose parts sum to each device's total", async () => {
    const plan = await planOf({ id: "a", model: "Llama 3.1 8B", quantization: "q4_k_m", hardware: card });
    expect(plan.fits).toBe(true);
    expect(plan.devices.map(({ id, kind }) => [id, kind])).toEqual([
      ["gpu0", "gpu"],
      ["host", "host"],
    ]);
    for (const device of plan.devices) {
      const { weightBytes, kvCacheBytes, recurrentStateBytes, computeBufferBytes, outputBufferBytes, runtimeBytes } =
        device;
      const sum =
        weightBytes + kvCacheBytes + recurrentStateBytes + computeBufferBytes + outputBufferBytes + runtimeBytes;
      expect(Math.abs(sum - device.totalBytes)).toBeLessThan(8);
      expect(device.freeBytesAfter).toBeCloseTo(device.freeBytesBefore - device.totalBytes, 0);
    }
    expect(plan.speed?.decodeTokensPerSecond).toBeGreaterThan(5);
    expect(plan.quality?.source).not.toBe("");
  });

  it("gives one plan for one shape, whether named, configured or described", async () => {
    const request = { quantization: "Q4_K_M", hardware: card, settings };
    const [named, config, metadata] = await Promise.all(
      ["Llama 3.1 8B", { config: llamaConfig }, { metadata: llamaMetadata, parameterCount: 8_030_261_312 }].map(
        (model) => planOf({ model, ...request }),
      ),
    );
    expect(config!.settings).toEqual(named!.settings);
    expect(metadata!.settings).toEqual(named!.settings);
    // Rope factors of a few hundred bytes are all a config does not tell.
    expect(Math.abs(config!.devices[0]!.totalBytes - named!.devices[0]!.totalBytes)).toBeLessThan(1e4);
    expect(Math.abs(metadata!.devices[0]!.totalBytes - named!.devices[0]!.totalBytes)).toBeLessThan(1e4);
  });

  it("keeps every setting it is given", async () => {
    const given = { ...settings, microBatchSize: 128, flashAttention: true, buildFamily: "llama-server" } as const;
    const plan = await planOf({ model: "Llama 3.1 8B", quantization: "Q5_0", hardware: card, settings: given });
    expect(plan.settings).toMatchObject({ ...given, kvCacheTypeK: "F16", quantization: "Q5_0" });
  });

  it("knows the bandwidth of a named card, and takes a given one before it", async () => {
    const device = { name: "rtx 4090", vramBytesTotal: 24 * GIB };
    const quick = await planOf({ model: "Qwen3 8B", quantization: "Q8_0", hardware: { devices: [device] } });
    const slow = await planOf({
      model: "Qwen3 8B",
      quantization: "Q8_0",
      hardware: { devices: [{ ...device, bandwidthBytesPerSecond: 250e9 }] },
    });
    expect(quick.speed!.decodeTokensPerSecond).toBeGreaterThan(2 * slow.speed!.decodeTokensPerSecond);
    expect(quick.devices[0]!.name).toBe("RTX 4090");
  });

  it("of a file plans with the types in the file", async () => {
    const path = join(folder, "small.gguf");
    const written = writeModel(path, { shape: "small", type: "Q8_0", architecture: "qwen3", brain: "zeros" });
    const plan = await planOf({ model: { gguf: path }, hardware: "8gb", settings: { contextLength: 512 } });
    const weights = plan.devices.reduce((sum, { weightBytes }) => sum + weightBytes, 0);
    expect(plan.model.provenance).toBe("gguf");
    expect(Math.abs(weights - (written.fileBytes - written.headerBytes))).toBeLessThan(plan.devices[0]!.totalBytes);
    expect(plan.offload).toBe("full");
  });

  it("takes sizes and machines as people write them", async () => {
    const plan = await planOf({ model: "13b", hardware: "2x3090" });
    expect(plan.model.provenance).toBe("size");
    expect(plan.devices.filter(({ kind }) => kind === "gpu")).toHaveLength(2);
  });

  it.each([
    ["raspberry pi 5 8gb", { ramBytesTotal: 8 * GIB, rate: 17.1e9 }],
    ["epyc 512gb", { ramBytesTotal: 512 * GIB, rate: 204.8e9 }],
    ["mac mini 24gb", { ramBytesTotal: 24 * GIB, rate: 153e9 }],
  ])("takes %s, a machine without a card", async (hardware, { ramBytesTotal, rate }) => {
    const found = hardwareOf(hardware);
    expect(found.ramBytesTotal).toBe(ramBytesTotal);
    expect(found.ramBandwidthBytesPerSecond).toBeCloseTo(rate);
    expect((await planOf({ model: "Llama 3.2 3B", hardware })).fits).toBe(true);
  });

  it("says where a context is longer than the model was trained for", async () => {
    const request = { model: "Llama 2 13B", hardware: "24gb", settings: { contextLength: 16_384 } };
    expect((await planOf(request)).assumptions.join(" ")).toContain("was trained for 4k of context");
  });

  it("of an embedding model says that it reads only", async () => {
    expect(await planOf({ model: "BGE M3", hardware: "4gb" })).toMatchObject({ vectors: true, alternatives: [] });
  });

  it("without a GPU plans for the processor", async () => {
    const plan = await planOf({ model: "Qwen3 0.6B", hardware: { devices: [], ramBytesFree: 8 * GIB } });
    expect(plan.offload).toBe("none");
    expect(plan.settings.gpuLayers).toBe(0);
  });

  it("that cannot be met is refused with what is missing", async () => {
    const reply = await ask({
      id: 7,
      model: "Llama 3.1 70B",
      hardware: { devices: [{ vramBytesTotal: 8 * GIB }], ramBytesFree: 8 * GIB },
    });
    if (!("refusal" in reply)) throw new Error(JSON.stringify(reply));
    expect(reply.id).toBe(7);
    expect(reply.refusal.shortfallBytes).toBeGreaterThan(10 * GIB);
    expect(Number.isInteger(reply.refusal.shortfallBytes)).toBe(true);
  });

  it("is answered the same twice", async () => {
    const body = { id: 1, model: "Qwen3 30B A3B", hardware: "8gb + 32gb ram" };
    expect(await ask(body)).toEqual(await ask(body));
  });
});

describe("a plan", () => {
  it("carries speed, quality and what stands near to it", async () => {
    const plan = await planOf({ model: "Qwen3 14B", quantization: "Q6_K", hardware: "8gb" });
    const { speed, quality, alternatives } = plan;
    expect(speed.decodeLow).toBeLessThan(speed.decodeTokensPerSecond);
    expect(speed.decodeHigh).toBeGreaterThan(speed.decodeTokensPerSecond);
    expect(speed.prefillTokensPerSecond).toBeGreaterThan(speed.decodeTokensPerSecond);
    expect(speed.timeToFirstTokenMs).toBeGreaterThan(0);
    expect([speed.atPromptTokens, speed.bottleneck]).toEqual([512, "CPU layers"]);
    expect(quality.perplexityIncreasePercent).toBeGreaterThan(0);
    const smaller = alternatives.find(({ kind }) => kind === "quantization");
    expect(smaller?.plan).toMatchObject({ offload: "full", fits: true });
    expect(smaller!.plan!.speed.decodeTokensPerSecond).toBeGreaterThan(speed.decodeTokensPerSecond);
    expect(alternatives.some(({ kind, plan: other }) => kind === "model" && other?.model.name !== "Qwen3 14B")).toBe(
      true,
    );
  });

  it("of a load described in full has no alternatives", async () => {
    expect((await planOf({ model: "Llama 3.1 8B", hardware: card, settings })).alternatives).toEqual([]);
  });

  it("tells the speed at the prompt it is asked for", async () => {
    const at = (promptTokens: number) =>
      planOf({ model: "Llama 3.1 8B", hardware: card, settings: { ...settings, promptTokens } });
    const [short, long] = [await at(128), await at(3000)];
    expect([short.speed.atPromptTokens, long.speed.atPromptTokens]).toEqual([128, 3000]);
    expect(long.speed.timeToFirstTokenMs).toBeGreaterThan(5 * short.speed.timeToFirstTokenMs);
  });
});

describe("formats other than GGUF", () => {
  const model = "Qwen2.5 7B";
  const hardware = "4090";

  it.each([
    ["int8", "transformers", "int8"],
    ["nf4", "transformers", "nf4"],
    ["nf4-double", "transformers", "nf4-double"],
    ["GPTQ-Int4", "vllm", "gptq-int4"],
    ["awq", "vllm", "awq"],
    ["fp8", "vllm", "fp8"],
  ])("%s alone says it is for %s", async (quantization, framework, name) => {
    const plan = await planOf({ model, quantization, hardware });
    expect(plan).toMatchObject({ framework, fits: true, offload: "full", model: { quantization: name } });
    expect(plan.alternatives.map(({ kind }) => kind)).toContain("gguf");
  });

  it.each([
    ["transformers", "int4", "nf4"],
    ["transformers", "fp16", "fp16"],
    ["transformers", "awq", "awq"],
    ["HF", "8bit", "int8"],
    ["vLLM", "int4", "awq"],
    ["vllm", "int8", "gptq-int8"],
    ["vllm", "bfloat16", "bf16"],
    ["vllm", "nf4", "nf4"],
  ])("in %s %s is %s", async (framework, quantization, name) => {
    expect((await planOf({ model, quantization, framework, hardware: "80gb" })).model.quantization).toBe(name);
  });

  it("without a quantization, the framework's best that fits is taken", async () => {
    expect((await planOf({ model, framework: "vllm", hardware: "80gb" })).model.quantization).toBe("bf16");
    expect((await planOf({ model, framework: "transformers", hardware: "12gb" })).model.quantization).not.toBe("bf16");
  });

  it("a config's own quantization is taken where its library is asked for", async () => {
    const config = { ...llamaConfig, quantization_config: { quant_method: "awq", bits: 4 } };
    const request = { model: { config }, hardware };
    expect((await planOf({ ...request, framework: "vllm" })).model.quantization).toBe("awq");
    expect((await planOf(request)).framework).toBeUndefined();
  });

  it("several cards share a model evenly under vLLM, and answer faster", async () => {
    const one = await planOf({ model, framework: "vllm", quantization: "bf16", hardware: "3090" });
    const two = await planOf({ model, framework: "vllm", quantization: "bf16", hardware: "2x3090" });
    const [first, second] = two.devices;
    expect(second).toMatchObject({ ...first, id: "gpu1", layers: expect.any(Number) });
    expect(first!.weightBytes).toBeCloseTo(one.devices[0]!.weightBytes / 2, -1);
    expect(two.speed.decodeTokensPerSecond).toBeGreaterThan(1.2 * one.speed.decodeTokensPerSecond);
  });

  it("cards that cannot share the heads evenly stand one behind the other", async () => {
    // Qwen2.5 7B has 28 heads.
    const on = (hardware: string) => planOf({ model, framework: "vllm", quantization: "bf16", hardware });
    const [one, three] = [await on("24gb"), await on("3x24gb")];
    expect(three.devices).toHaveLength(3);
    expect(three.devices[0]!.weightBytes).toBeCloseTo(one.devices[0]!.weightBytes / 3, -1);
    expect(three.speed.decodeTokensPerSecond).toBeCloseTo(one.speed.decodeTokensPerSecond, 5);
    expect(three.assumptions.join(" ")).toMatch(/3 groups of 1 one behind the other/);
  });

  it("without a GPU are refused, and nothing is near", async () => {
    const reply = await ask({ model, framework: "vllm", hardware: "cpu 32gb" });
    if (!("refusal" in reply)) throw new Error(JSON.stringify(reply).slice(0, 200));
    expect(reply.refusal.nearest).toBeUndefined();
    expect(reply.refusal.reason).toMatch(/needs a GPU/);
  });

  it("more users and longer contexts take more cache", async () => {
    const cache = async (settings: object) =>
      (await planOf({ model, framework: "vllm", hardware: "80gb", settings })).devices[0]!.kvCacheBytes;
    const base = await cache({ contextLength: 4096 });
    expect((await cache({ contextLength: 8192 })) / base).toBeCloseTo(2, 1);
    expect((await cache({ contextLength: 4096, sequenceCount: 4 })) / base).toBeCloseTo(4, 1);
  });

  it("an older library is planned as it was", async () => {
    const total = async (frameworkVersion: string) => {
      const settings = { contextLength: 8192, generatedTokens: 2048, frameworkVersion };
      const plan = await planOf({ model, framework: "transformers", quantization: "bf16", hardware: "80gb", settings });
      return plan.devices[0]!.totalBytes;
    };
    expect(await total("2024")).toBeGreaterThan((await total("current")) + GIB);
  });

  it("that do not fit are refused with a smaller one that does", async () => {
    const reply = await ask({ query: "qwen2.5-32b bf16 vllm 24gb" });
    if (!("refusal" in reply)) throw new Error(JSON.stringify(reply).slice(0, 200));
    expect(reply.refusal.nearest).toMatchObject({ framework: "vllm", fits: false });
    expect(reply.refusal.alternatives[0]?.plan).toMatchObject({ model: { quantization: "awq" }, fits: true });
  });

  it.each([
    ["a mix in vLLM", { framework: "vllm", quantization: "Q4_K_M" }, /GGUF mix/],
    ["AWQ in llama.cpp", { framework: "llama.cpp", quantization: "awq" }, /loads GGUF mixes/],
    ["a format nobody knows", { framework: "vllm", quantization: "int3" }, /no quantization Snug knows/],
  ])("%s is an error that names the field", async (_, more, message) => {
    const error = await errorOf({ model, hardware, ...more });
    expect([error.code, error.param]).toEqual(["invalid_request", "quantization"]);
    expect(error.message).toMatch(message);
  });

  it("are read from questions too", async () => {
    const reply = await ask({ query: "qwen2.5-32b awq vllm 2x24gb" });
    expect(reply).toMatchObject({ plan: { framework: "vllm", model: { quantization: "awq" }, fits: true } });
  });
});

describe("what other programs write", () => {
  const model = "Llama 3.1 8B";
  const plain = { model, quantization: "Q4_K_M", hardware: card, settings };

  it.each<[string, object]>([
    [
      "numbers as text",
      { ...plain, settings: { ...settings, contextLength: "4096", gpuLayers: "33", batchSize: "512" } },
    ],
    ["tokens in k", { ...plain, settings: { ...settings, contextLength: "4k" } }],
    [
      "memory as text",
      {
        ...plain,
        hardware: {
          devices: [{ vramBytesTotal: "12 GiB", vramBytesFree: `${11 * GIB}` }],
          ramBytesFree: "32GB",
        },
      },
    ],
    ["null for what is not given", { ...plain, framework: null, settings: { ...settings, flashAttention: null } }],
    ["words for switches", { ...plain, settings: { ...settings, flashAttention: "on" } }],
    ["auto", { ...plain, settings: { ...settings, flashAttention: "auto", microBatchSize: "auto" } }],
    [
      "snake case",
      {
        ...plain,
        settings: undefined,
        ...{ context_length: 4096, sequence_count: 1, batch_size: 512, gpu_layers: 33 },
      },
    ],
    [
      "devices as a list",
      { ...plain, hardware: undefined, Hardware: { gpus: card.devices, ram_bytes_free: 32 * GIB } },
    ],
    ["one device", { ...plain, hardware: { ...card.devices[0], ramBytesFree: 32 * GIB } }],
    ["a model with a name", { ...plain, model: { name: model } }],
    [
      "other spellings of cache types",
      { ...plain, settings: { ...settings, kvCacheTypeK: "fp16", kvCacheTypeV: "FLOAT16" } },
    ],
    ["another name of the build", { ...plain, settings: { ...settings, buildFamily: "Snug" } }],
  ])("is understood: %s", async (_, body) => {
    const [expected, plan] = [await planOf(plain), await planOf(body)];
    expect(plan.settings).toEqual(expected.settings);
    expect(plan.devices).toEqual(expected.devices);
  });

  it.each([
    ["llama.cpp", "llama-server"],
    ["llama-cpp-python", "llama-server"],
    ["ollama", "llama-server"],
    ["llama.cpp 2024", "llama.cpp-2024"],
    ["Llama_Server", "llama-server"],
  ])("the build %s is %s", async (name, buildFamily) => {
    const plan = await planOf({ ...plain, settings: { ...settings, buildFamily: name } });
    expect(plan.settings.buildFamily).toBe(buildFamily);
  });

  it("all layers may be called that", async () => {
    const plan = await planOf({ ...plain, settings: { contextLength: 4096, gpuLayers: "all" } });
    expect(plan.offload).toBe("full");
  });

  it("a card's name fills in its size", async () => {
    const plan = await planOf({ model, hardware: { devices: [{ name: "rtx 4060 ti 16gb" }, { name: "3090" }] } });
    expect(plan.devices.map(({ name }) => name)).toEqual(["RTX 4060 Ti", "RTX 3090", undefined]);
    expect(plan.devices[0]!.freeBytesBefore).toBeGreaterThan(14 * GIB);
  });

  it("fields nobody asked for are left out and said", async () => {
    const plan = await planOf({ ...plain, source: "a sheet", hardware: { ...card, owner: "me" } });
    expect(plan.devices).toEqual((await planOf(plain)).devices);
    expect(plan.assumptions.join(" ")).toMatch(/field source .* field hardware.owner /);
  });

  it.each<[string, object, string, RegExp]>([
    [
      "a build nobody made",
      { settings: { buildFamily: "torch" } },
      "settings.buildFamily",
      /node-llama-cpp, llama-server/,
    ],
    ["a misspelled field", { quantisation: "Q4_K_M" }, "quantisation", /did you mean quantization/],
    [
      "an amount under another name",
      { settings: { n_ctx_total: 4096 } },
      "settings.n_ctx_total",
      /known are contextLength/,
    ],
    ["a field given twice", { context_length: 1, contextLength: 2 }, "contextLength", /twice/],
    ["a setting in two places", { settings: { contextLength: 1 }, contextLength: 2 }, "contextLength", /twice/],
    [
      "an unknown card without a size",
      { hardware: { devices: [{ name: "rtx 3960" }] } },
      "hardware.devices[0].vramBytesTotal",
      /no card Snug knows/,
    ],
    [
      "a model of eight parameters",
      { model: { config: llamaConfig, parameterCount: 8 } },
      "model.parameterCount",
      /8b/,
    ],
    ["many devices", { hardware: { devices: Array(1000).fill({ name: "3090" }) } }, "hardware.devices", /64/],
  ])("%s is an error that names it", async (_, more, param, message) => {
    const error = await errorOf({ model, hardware: card, ...more });
    expect([error.code, error.param]).toEqual(["invalid_request", param]);
    expect(error.message).toMatch(message);
  });
});

describe("a question", () => {
  it("is read as a person would mean it", async () => {
    const plan = await planOf({ id: "q", query: "qwen3-8b q4_k_m 8gb ctx 16k" });
    expect(plan.model).toMatchObject({ name: "Qwen3 8B", quantization: "Q4_K_M" });
    expect(plan.settings.contextLength).toBe(16_384);
  });

  it("about a family is answered with its largest model that runs on the GPU", async () => {
    const [small, large] = [await planOf({ query: "qwen3 6gb" }), await planOf({ query: "qwen3 24gb" })];
    expect(small.offload).toBe("full");
    expect(large.model.parameterCount).toBeGreaterThan(small.model.parameterCount);
  });

  it.each([
    ["without a model", "6gb", "models", { models: [{ purpose: "chat", plan: { fits: true } }] }],
    ["without a machine", "llama 3.1 70b", "machines", { machines: [{ priceBasis: "used" }] }],
    ["about a word", "what is nf4", "term", { terms: [{ id: "nf4" }] }],
  ])("%s gets the whole answer", async (_, query, code, more) => {
    const reply = await ask({ id: 3, query });
    expect(reply).toMatchObject({ id: 3, answer: { verdict: { code }, query: { text: query } } });
    if (!("answer" in reply)) throw new Error("no answer");
    for (const [key, [first]] of Object.entries(more)) {
      expect(reply.answer[key as "models"][0]).toMatchObject(first!);
    }
  });

  it("that fits nowhere is refused with what would do", async () => {
    const reply = await ask({ query: "llama 3.1 405b 8gb + 16gb ram" });
    if (!("refusal" in reply)) throw new Error(JSON.stringify(reply).slice(0, 200));
    expect(reply.refusal.nearest?.speed.decodeTokensPerSecond).toBeGreaterThan(0);
    expect(reply.refusal.alternatives.length).toBeGreaterThan(0);
  });

  it("says in its plan how it was taken", async () => {
    const plan = await planOf({ query: "10b int4 16gb" });
    expect(plan.assumptions).toContain("I took int4 as Q4_K_M.");
  });

  it("that says nothing gets examples", async () => {
    const error = await errorOf({ query: "hello there my friend" });
    expect(error.code).toBe("invalid_request");
    expect(error.details?.examples).toBeDefined();
  });
});

describe("nonsense is a typed error that names the field:", () => {
  const model = "Qwen3 8B";
  const devices = (device: object) => ({ model, hardware: { devices: [device] } });
  const cases: [string, unknown, string, string | null, RegExp][] = [
    ["no object", [1, 2], "invalid_request", null, /JSON object/],
    ["null", null, "invalid_request", null, /JSON object/],
    ["nothing", { id: 1 }, "invalid_request", "model", /a name, or an object with gguf, config or metadata/],
    ["no hardware", { model }, "invalid_request", "hardware", /a name, or an object with devices/],
    ["both kinds", { query: "13b 6gb", model }, "invalid_request", "model", /no such field/],
    [
      "0 bytes",
      devices({ vramBytesTotal: 0 }),
      "invalid_request",
      "hardware.devices[0].vramBytesTotal",
      /8 GiB being 8589934592/,
    ],
    [
      "gigabytes",
      devices({ vramBytesTotal: 8 }),
      "invalid_request",
      "hardware.devices[0].vramBytesTotal",
      /Give bytes/,
    ],
    [
      "megabytes",
      devices({ vramBytesTotal: 8192 }),
      "invalid_request",
      "hardware.devices[0].vramBytesTotal",
      /Give bytes/,
    ],
    ["-1", devices({ vramBytesTotal: -1 }), "invalid_request", "hardware.devices[0].vramBytesTotal", /wrong/],
    ["10^9 GB", devices({ vramBytesTotal: 1e18 }), "invalid_request", "hardware.devices[0].vramBytesTotal", /between/],
    ["NaN", devices({ vramBytesTotal: Number.NaN }), "invalid_request", "hardware.devices[0].vramBytesTotal", /number/],
    [
      "infinity",
      devices({ vramBytesTotal: Number.POSITIVE_INFINITY }),
      "invalid_request",
      "hardware.devices[0].vramBytesTotal",
      /number/,
    ],
    [
      "text for bytes",
      devices({ vramBytesTotal: "8 apples" }),
      "invalid_request",
      "hardware.devices[0].vramBytesTotal",
      /text such as "8 GiB"/,
    ],
    [
      "more free than there is",
      devices({ vramBytesTotal: 8e9, vramBytesFree: 9e9 }),
      "invalid_request",
      "hardware.devices[0].vramBytesFree",
      /both in bytes/,
    ],
    [
      "free in gigabytes",
      devices({ vramBytesTotal: 8e9, vramBytesFree: 7 }),
      "invalid_request",
      "hardware.devices[0].vramBytesFree",
      /Give bytes/,
    ],
    [
      "bandwidth in GB/s",
      devices({ vramBytesTotal: 8e9, bandwidthBytesPerSecond: 360 }),
      "invalid_request",
      "hardware.devices[0].bandwidthBytesPerSecond",
      /bytes per second/,
    ],
    [
      "memory in gigabytes",
      { model, hardware: { devices: [], ramBytesFree: 16 } },
      "invalid_request",
      "hardware.ramBytesFree",
      /Give bytes/,
    ],
    [
      "a unit in a field's name",
      devices({ vramBytesTotal: 8e9, vramGiB: 8 }),
      "invalid_request",
      "hardware.devices[0].vramGiB",
      /no such field/,
    ],
    ["a machine of 0 gb", { model, hardware: "0gb" }, "invalid_request", "hardware", /no machine Snug knows/],
    ["an unknown card", { model, hardware: "rtx 3960" }, "invalid_request", "hardware", /Did you mean/],
    ["an unknown model", { model: "Qwem3 8B", hardware: "8gb" }, "model_not_found", "model", /Did you mean Qwen3 8B/],
    [
      "an unknown quantization",
      { model, quantization: "Q9_K", hardware: "8gb" },
      "invalid_request",
      "quantization",
      /Try Q4_K_M/,
    ],
    [
      "a misspelled setting",
      { model, hardware: "8gb", settings: { contextLenght: 1 } },
      "invalid_request",
      "settings.contextLenght",
      /no such field/,
    ],
    [
      "a context of 0",
      { model, hardware: "8gb", settings: { contextLength: 0 } },
      "invalid_request",
      "settings.contextLength",
      /wrong/,
    ],
    [
      "an absurd context",
      { model, hardware: "8gb", settings: { contextLength: 1e12 } },
      "invalid_request",
      "settings.contextLength",
      /2147483647/,
    ],
    [
      "half a layer",
      { model, hardware: "8gb", settings: { gpuLayers: 1.5 } },
      "invalid_request",
      "settings.gpuLayers",
      /whole number/,
    ],
    [
      "a cache type that aborts",
      { model, hardware: "8gb", settings: { kvCacheTypeK: "I32" } },
      "invalid_request",
      "settings.kvCacheTypeK",
      /expected one of|Invalid option/,
    ],
    [
      "a quantized V cache without flash attention",
      { model, hardware: "8gb", settings: { kvCacheTypeV: "q8_0", flashAttention: false } },
      "invalid_request",
      "settings.kvCacheTypeV",
      /flash attention/,
    ],
    ["a config of nothing", { model: { config: {} }, hardware: "8gb" }, "invalid_request", null, /./],
    [
      "metadata without an architecture",
      { model: { metadata: { "llama.block_count": 3 } }, hardware: "8gb" },
      "invalid_request",
      null,
      /architecture/,
    ],
    [
      "zero layers",
      { model: { metadata: { ...llamaMetadata, "llama.block_count": 0 } }, hardware: "8gb" },
      "invalid_request",
      null,
      /block_count/,
    ],
    [
      "a file that is not there",
      { model: { gguf: "/none.gguf" }, hardware: "8gb" },
      "model_not_found",
      null,
      /no file/,
    ],
    ["a query that is no text", { query: 7 }, "invalid_request", "query", /received number/],
    ["a query without end", { query: "x".repeat(10_000) }, "invalid_request", "query", /500/],
  ];

  it.each(cases)("%s", async (_, body, code, param, message) => {
    const error = await errorOf(body);
    expect([error.code, error.param]).toEqual([code, param]);
    expect(error.message).toMatch(message);
  });
});

describe("docs/fits-batch.md", () => {
  const page = readFileSync(new URL("../../docs/fits-batch.md", import.meta.url), "utf8");
  const examples = /```json\n([\s\S]*?)```/.exec(page)![1]!.trim().split("\n");

  it.each(examples)("shows a request that is answered: %s", async (line) => {
    const path = join(folder, "example.gguf");
    writeModel(path, { brain: "zeros" });
    const reply = JSON.parse(await answerFitsLine(line.replace("models/demo/demo-chat-F16.gguf", path), dependencies));
    const { id, query } = JSON.parse(line);
    expect(reply).toMatchObject(
      query === "6gb" ? { id, answer: { verdict: { code: "models" } } } : { id, plan: { kind: "plan" } },
    );
  });
});

describe("a line", () => {
  const answer = async (line: string) => JSON.parse(await answerFitsLine(line, dependencies));

  it("gives a line with the id that came", async () => {
    const line = await answerFitsLine('{"id": "x-1", "query": "13b 6gb"}', dependencies);
    expect(line).not.toContain("\n");
    expect(JSON.parse(line)).toMatchObject({ id: "x-1", plan: { kind: "plan" } });
  });

  it("that is blank stays blank", async () => {
    expect(await answerFitsLine("  ", dependencies)).toBe("");
  });

  it("that is not JSON is an error without an id", async () => {
    for (const line of ["{", '{"id":1,"vram":NaN}', "13b 6gb", "\u0000"]) {
      expect(await answer(line)).toMatchObject({ id: null, error: { code: "invalid_request", param: null } });
    }
  });

  it("that is too long is refused unread", async () => {
    expect(await answer(`{"query": "${" ".repeat(300_000)}"}`)).toMatchObject({
      id: null,
      error: { code: "payload_too_large" },
    });
  });

  it("with keys that every object has is just a wrong request", async () => {
    expect(await answer('{"id": 3, "__proto__": {"query": "13b 6gb"}}')).toMatchObject({
      id: 3,
      error: { code: "invalid_request" },
    });
  });

  it("that trips a bug of ours tells nothing of it", async () => {
    const broken: DoorDependencies = {
      loadGguf: () => {
        throw new TypeError("secret path /home/x");
      },
    };
    const reply = await answerFitsLine('{"id": 5, "model": {"gguf": "a"}, "hardware": "8gb"}', broken);
    expect(JSON.parse(reply)).toMatchObject({ id: 5, error: { code: "internal" } });
    expect(reply).not.toContain("secret");
  });
});
