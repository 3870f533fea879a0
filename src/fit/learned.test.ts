import { describe, expect, it } from "vitest";
import { MIB } from "../core/units.ts";
import { answerQuery } from "./answer.ts";
import { findCatalogueModel, specFromCatalogue } from "./catalogue.ts";
import { answerFitsRequest } from "./door.ts";
import { parseHardwareName } from "./gpus.ts";
import { type LearnedLoad, type LearnedMachine, type LearnedRun, memoryCorrection, taughtHardware } from "./learned.ts";
import { specFromConfig } from "./model.ts";
import { planFit } from "./plan.ts";
import { parseQuery } from "./query.ts";
import { estimateSpeed } from "./speed.ts";
import { tokenWork } from "./speed-work.ts";
import type { FitPlan, Hardware, ModelSpec, RuntimeSettings, Wish } from "./types.ts";

const usual = 280 * MIB;
const family = { buildFamily: "node-llama-cpp" } as const;
const llama = specFromCatalogue(findCatalogueModel("llama 3.1 8b")!.model);
const small = specFromCatalogue(findCatalogueModel("llama 3.2 1b")!.model);

function machine(loads: readonly LearnedLoad[], runs: readonly LearnedRun[] = []): LearnedMachine {
  return { backend: "cuda", buildFamily: "node-llama-cpp", loads, runs };
}
const taught = (...loads: LearnedLoad[]) =>
  memoryCorrection({ backend: "cuda", learned: machine(loads) }, "llama", family, usual);
const driver = (mib: number): LearnedLoad => ({ architecture: "llama", gpuCount: 1, runtimeBytes: mib * MIB });
const compute = (ratio: number, architecture = "llama"): LearnedLoad => ({
  architecture,
  gpuCount: 1,
  compute: {
    predicted: { hostBytes: 20 * MIB, gpuBytes: 100 * MIB },
    measured: { hostBytes: 20 * MIB, gpuBytes: ratio * 100 * MIB },
  },
});

describe("what loads teach about memory", () => {
  it("is nothing before the first, for another build or for another backend", () => {
    expect(taught()).toBeUndefined();
    const learned = machine([driver(500)]);
    expect(memoryCorrection({ backend: "cuda", learned }, "llama", { buildFamily: "llama-server" }, usual)).toBe(
      undefined,
    );
    expect(memoryCorrection({ backend: "cpu", learned }, "llama", family, usual)).toBeUndefined();
  });

  it("the largest share a driver took counts, so that nothing seen is predicted to take less", () => {
    expect(taught(driver(300))?.runtimeBytes).toBe(300 * MIB);
    expect(taught(driver(300), driver(420), driver(350))?.runtimeBytes).toBe(420 * MIB);
  });

  it("a share below the usual one is believed from three loads on", () => {
    expect(taught(driver(211))?.runtimeBytes).toBe(usual);
    expect(taught(driver(211), driver(215))?.runtimeBytes).toBe(usual);
    expect(taught(driver(211), driver(215), driver(213))?.runtimeBytes).toBe(215 * MIB);
  });

  it("another program that started in the same seconds is no driver, and no driver takes more than 2 GiB", () => {
    expect(taught(driver(300), driver(3720), driver(320))?.runtimeBytes).toBe(320 * MIB);
    expect(taught(driver(9000))?.runtimeBytes).toBe(2048 * MIB);
    expect(taught(driver(-50), driver(-20), driver(0))?.runtimeBytes).toBe(0);
  });

  it("compute buffers that came out larger are planned larger, smaller ones a little smaller after three loads", () => {
    expect(taught(compute(1.23))).toEqual({ computeHost: 1, computeGpu: 1.23 });
    expect(taught(compute(0.95))).toBeUndefined();
    expect(taught(compute(0.95), compute(0.94), compute(0.96))?.computeGpu).toBe(0.96);
    expect(taught(compute(0.7), compute(0.7), compute(0.7))?.computeGpu).toBe(0.9);
  });

  it("holds for the architecture it was seen on, and a figure out of all proportion for none", () => {
    expect(taught(compute(1.23, "lfm2"))).toBeUndefined();
    expect(taught(compute(7))).toBeUndefined();
  });

  it("moves the plan: same card, same question, fewer layers after a driver took more", () => {
    const hardware: Hardware = { ...parseHardwareName("rtx 3060")!, ramBytesFree: 2 ** 35 };
    const before = plan(hardware);
    const after = plan({ ...hardware, learned: machine([driver(900)]) });
    const [gpu, learnedGpu] = [before, after].map((one) => one.devices.find(({ kind }) => kind === "gpu")!);
    expect(gpu!.runtimeBytes).toBe(usual);
    expect(learnedGpu!.runtimeBytes).toBe(900 * MIB);
    const short = { ...parseHardwareName("8gb")!, ramBytesFree: 2 ** 35 };
    const layers = (one: Hardware) => plan(one, { quantization: "Q8_0", contextLength: 8192 }).settings.gpuLayers;
    expect(layers({ ...short, learned: machine([driver(1500)]) })).toBeLessThan(layers(short));
  });
});

function plan(hardware: Hardware, wish: Wish = { quantization: "Q4_K_M" }): FitPlan {
  const answer = planFit(llama, hardware, wish);
  if (answer.kind === "refusal") throw new Error(answer.reason);
  return answer;
}

describe("what answers teach about speed", () => {
  const settingsOf = (model: ModelSpec, hardware: Hardware, quantization: string): RuntimeSettings => {
    const answer = planFit(model, hardware, { quantization, contextLength: 4096, sequenceCount: 1 });
    return (answer as FitPlan).settings;
  };
  const runOf = (
    model: ModelSpec,
    hardware: Hardware,
    quantization: string,
    depthTokens: number,
    decodeTokensPerSecond: number,
  ): LearnedRun => {
    const settings = settingsOf(model, hardware, quantization);
    const work = tokenWork(model, settings, hardware.gpus.length, depthTokens);
    return { architecture: model.architecture, settings, work, depthTokens, decodeTokensPerSecond };
  };
  const askOf = (model: ModelSpec, hardware: Hardware, quantization: string, depthTokens: number) =>
    estimateSpeed({
      model,
      plan: { settings: settingsOf(model, hardware, quantization) },
      hardware,
      depthTokens,
    });

  it("one measured run on a card predicts the same model in another quantization better than the tables do", () => {
    const card = { ...parseHardwareName("rtx 3060")!, ramBytesFree: 2 ** 35 };
    const truth = 0.7;
    const tables = askOf(llama, card, "Q4_K_M", 200).decodeTokensPerSecond;
    const other = askOf(small, card, "Q8_0", 2000).decodeTokensPerSecond * truth;
    const learned = { ...machine([]), runs: [runOf(llama, card, "Q4_K_M", 200, tables * truth)] };
    const predicted = askOf(small, { ...card, learned }, "Q8_0", 2000);
    expect(Math.abs(predicted.decodeTokensPerSecond / other - 1)).toBeLessThan(0.02);
    expect(predicted.decodeHigh / predicted.decodeLow).toBeLessThan(
      askOf(small, card, "Q8_0", 2000).decodeHigh / askOf(small, card, "Q8_0", 2000).decodeLow,
    );
  });

  it("runs of the model's own architecture count before those of others", () => {
    const card = { ...parseHardwareName("rtx 3060")!, ramBytesFree: 2 ** 35 };
    const own = runOf(llama, card, "Q4_K_M", 200, 40);
    const foreign = { ...runOf(llama, card, "Q4_K_M", 200, 10), architecture: "qwen3" };
    const learned = machine([], [foreign, own]);
    expect(askOf(llama, { ...card, learned }, "Q4_K_M", 200).decodeTokensPerSecond).toBeCloseTo(40, 6);
    const foreignOnly = machine([], [foreign]);
    const borrowed = askOf(llama, { ...card, learned: foreignOnly }, "Q4_K_M", 200);
    expect(borrowed.decodeTokensPerSecond).toBeCloseTo(10, 6);
    // Another architecture's runs say less, and the interval does not hide it.
    const { decodeLow, decodeHigh } = askOf(llama, { ...card, learned }, "Q4_K_M", 200);
    expect(borrowed.decodeHigh / borrowed.decodeLow).toBeGreaterThan(decodeHigh / decodeLow);
  });

  describe("of a CPU of few cores", () => {
    const core: Hardware = { backend: "cpu", gpus: [], ramBytesFree: 2 ** 34 };
    const shape = {
      model_type: "qwen3",
      hidden_size: 1024,
      num_hidden_layers: 16,
      num_attention_heads: 16,
      num_key_value_heads: 8,
      head_dim: 64,
      intermediate_size: 3072,
      vocab_size: 1500,
      max_position_embeddings: 8192,
    };
    const model = specFromConfig(shape);
    const tiny = specFromConfig({
      ...shape,
      hidden_size: 256,
      num_hidden_layers: 6,
      head_dim: 32,
      num_key_value_heads: 4,
    });
    const machineOf = (runs: LearnedRun[]): Hardware => ({
      ...core,
      learned: { backend: "cpu", buildFamily: "node-llama-cpp", loads: [], runs },
    });
    const msOf = (hardware: Hardware, run: LearnedRun, quantization: string, depthTokens: number) => {
      const plan = { settings: { ...run.settings, quantization } };
      return 1000 / estimateSpeed({ model, plan, hardware, depthTokens }).decodeTokensPerSecond;
    };

    // CPU time per token of one AVX-512 core, 205 million weights in 16 layers: one round of bench/learning.ts's questions.
    it("one run predicts other depths and quantizations within 10 %", () => {
      const run = runOf(model, core, "Q8_0", 57, 1000 / 13.2);
      const measured: [quantization: string, depth: number, ms: number][] = [
        ["Q8_0", 1029, 18.6],
        ["Q4_0", 57, 7.7],
        ["Q4_0", 1029, 13.7],
        ["F16", 57, 19.1],
        ["F16", 1029, 24.8],
        ["Q4_K_M", 57, 9.1],
      ];
      for (const [quantization, depth, ms] of measured) {
        const ratio = msOf(machineOf([run]), run, quantization, depth) / ms;
        expect(ratio, `${quantization} at ${depth}`).toBeGreaterThan(0.9);
        expect(ratio, `${quantization} at ${depth}`).toBeLessThan(1.1);
      }
    });

    it("runs at two depths teach what a token of context costs, and a format that was measured is no longer guessed", () => {
      const [short, deep, other] = [
        runOf(model, core, "Q8_0", 50, 1000 / 12),
        runOf(model, core, "Q8_0", 2050, 1000 / 36),
        runOf(model, core, "Q5_K_M", 50, 1000 / 20),
      ];
      const taught = machineOf([short, deep]);
      expect(msOf(taught, short, "Q8_0", 50)).toBeCloseTo(12, 1);
      expect(msOf(taught, short, "Q8_0", 4050)).toBeCloseTo(60, 0);
      expect(msOf(machineOf([short]), short, "Q8_0", 4050)).toBeLessThan(50);
      const all = machineOf([short, deep, other]);
      expect(msOf(all, short, "Q5_K_M", 50)).toBeCloseTo(20, 1);
      expect(msOf(all, short, "Q8_0", 50)).toBeCloseTo(12, 1);
    });

    it("the tables know that it has few, and that a small model runs on one thread", () => {
      const rates = (spec: ModelSpec, cpuCores?: number) => {
        const run = runOf(spec, core, "Q8_0", 57, 1);
        const hardware = { ...core, ...(cpuCores === undefined ? {} : { cpuCores }) };
        return estimateSpeed({ model: spec, plan: { settings: run.settings }, hardware, depthTokens: 57 });
      };
      // As measured on one core; before its first answer the table may be off by another core's clock.
      expect(1000 / rates(model, 1).decodeTokensPerSecond / 13.4).toBeCloseTo(1, 0);
      expect(rates(model, 4).decodeTokensPerSecond).toBeGreaterThan(1.5 * rates(model, 1).decodeTokensPerSecond);
      expect(rates(model, 4).prefillTokensPerSecond).toBeCloseTo(4 * rates(model, 1).prefillTokensPerSecond, -2);
      expect(rates(tiny, 16).prefillTokensPerSecond).toBeCloseTo(rates(tiny, 1).prefillTokensPerSecond, 6);
      expect(rates(tiny).prefillTokensPerSecond).toBeLessThan(10_000);
    });
  });
});

describe("a question about the machine that answers", () => {
  const own = parseHardwareName("rtx 3060")!;
  const known = (gpuNames: string[], loads: LearnedLoad[] = [driver(900)]) => ({ gpuNames, learned: machine(loads) });

  it("is recognised by the driver's names for its cards, in their number", () => {
    expect(taughtHardware(own, known(["NVIDIA GeForce RTX 3060"]))?.learned).toBeDefined();
    expect(taughtHardware(own, known(["NVIDIA GeForce RTX 3070"]))).toBeUndefined();
    expect(taughtHardware(own, known(["NVIDIA GeForce RTX 3060", "NVIDIA GeForce RTX 3060"]))).toBeUndefined();
    expect(taughtHardware(parseHardwareName("12gb")!, known(["NVIDIA GeForce RTX 3060"]))).toBeUndefined();
    expect(taughtHardware(own, undefined)).toBeUndefined();
  });

  it("is answered with what was learned, which the notes say and the answer itself does not hold", () => {
    const query = parseQuery("llama 3.1 8b q4_k_m rtx 3060");
    const plain = answerQuery(query);
    const answer = answerQuery(query, { machine: known(["NVIDIA GeForce RTX 3060"]) });
    expect(answer.plan!.devices[0]!.runtimeBytes).toBe(900 * MIB);
    expect(plain.plan!.devices[0]!.runtimeBytes).toBe(usual);
    expect(answer.notes.at(-1)).toMatchObject({ en: expect.stringContaining("learned (loads: 1") });
    expect(plain.notes.some(({ en }) => en.includes("learned"))).toBe(false);
    expect(answer.query).toBe(query);
    expect(JSON.stringify(answer)).not.toContain('"loads"');
    const other = answerQuery(parseQuery("llama 3.1 8b q4_k_m rtx 3070"), {
      machine: known(["NVIDIA GeForce RTX 3060"]),
    });
    expect(other.notes.some(({ en }) => en.includes("learned"))).toBe(false);
  });

  it("is answered so at the machine door too", async () => {
    const dependencies = {
      loadGguf: () => Promise.reject(new Error("no files here")),
      machine: () => known(["NVIDIA GeForce RTX 3060"]),
    };
    const request = { id: 1, model: "Llama 3.1 8B", hardware: "rtx 3060", quantization: "Q4_K_M" };
    const reply = await answerFitsRequest(request, dependencies);
    if (!("plan" in reply)) throw new Error(JSON.stringify(reply));
    expect(reply.plan.devices[0]!.runtimeBytes).toBe(900 * MIB);
    expect(reply.plan.assumptions.at(-1)).toContain("what this machine learned");
    expect(JSON.stringify(reply)).not.toContain('"loads"');
  });
});
