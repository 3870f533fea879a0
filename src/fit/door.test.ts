import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { writeModel } from "../../test/support/gguf/write-model.ts";
import { AppError } from "../core/errors.ts";
import { GIB } from "../core/units.ts";
import { answerFitsLine, answerFitsRequest, type DoorDependencies } from "./door.ts";
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

  it("that names no model or no machine is told what it lacks", async () => {
    expect((await errorOf({ query: "6gb" })).message).toMatch(/lacks the model/);
    expect((await errorOf({ query: "llama 3.1 70b" })).message).toMatch(/lacks the machine/);
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
      devices({ vramBytesTotal: "8 GB" }),
      "invalid_request",
      "hardware.devices[0].vramBytesTotal",
      /received string/,
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
      /int/,
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
    const reply = JSON.parse(await answerFitsLine(line.replace("models/small.gguf", path), dependencies));
    expect(reply).toMatchObject({ id: JSON.parse(line).id, plan: { kind: "plan" } });
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
