import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { HubServer } from "../../../test/support/hub-server.ts";
import { childProgram } from "../../../test/support/local-engine.ts";
import type { CompareProgress } from "../../fit/compare-report.ts";
import { checkModelFile, readModelHeader } from "../check-model.ts";
import { createHardwareProbe } from "../hardware.ts";
import { quantizeFile } from "../quantize/quantize-file.ts";
import { ModelStore } from "../store.ts";
import { type CompareTools, compareModel } from "./compare.ts";

const demoModelPath = fileURLToPath(new URL("../../../models/demo/demo-chat-F16.gguf", import.meta.url));
const root = mkdtempSync(join(tmpdir(), "snug-compare-test-"));
afterAll(() => rmSync(root, { recursive: true }));
const work = join(root, "work");

const store = new ModelStore({
  dataDir: join(root, "data"),
  demoPath: demoModelPath,
  hubCacheDir: join(root, "hub"),
  ollamaDirs: [],
  hubUrl: "http://127.0.0.1:9",
});

const reading = createHardwareProbe({ program: childProgram }).read();

function tools(over: Partial<CompareTools> = {}): CompareTools {
  return {
    program: childProgram,
    store,
    read: () => reading,
    readVramFree: async () => undefined,
    wish: { gpu: false, threadsMax: 1 },
    folder: work,
    clock: { now: () => Date.now() },
    ...over,
  };
}

const never = new AbortController().signal;
/** What a comparison left in its folder. */
const left = () => readdirSync(work);

describe("a comparison", () => {
  it("measures the demo model at two precisions and leaves nothing behind", async () => {
    const seen: CompareProgress[] = [];
    const report = await compareModel(
      { model: "demo", quantizations: ["Q4_0", "F16"], prompts: ["Hello"], contexts: [64, 5000], maxTokens: 16 },
      tools({ isBusy: async () => seen.length > 0 }),
      { signal: never, onProgress: (progress) => seen.push(progress) },
    );
    const [exact, small] = report.variants;
    expect(report).toMatchObject({ reference: "F16", model: { name: "demo", demo: true }, disturbed: true });
    // The second depth is deeper than the model was trained for.
    expect(report.contexts).toEqual([64, 1024 - 65]);
    expect(report.variants.map(({ quantization, origin }) => [quantization, origin])).toEqual([
      ["F16", "disk"],
      ["Q4_0", "quantized here"],
    ]);
    expect(small!.fileBytes!).toBeLessThan(0.4 * exact!.fileBytes!);
    for (const { speeds, answers, memory, load, failure } of report.variants) {
      expect(failure).toBeUndefined();
      expect(speeds.map(({ contextTokens }) => contextTokens)).toEqual(report.contexts);
      expect(answers[0]!.text.length).toBeGreaterThan(0);
      expect(answers[0]!.timeToFirstTokenMs).toBeGreaterThan(0);
      expect(load!.threads).toBe(1);
      expect(memory!.measured!.hostBytes / memory!.predicted.hostBytes).toBeGreaterThan(0.5);
    }
    expect(exact!.quality!.divergence).toBeUndefined();
    expect(small!.quality!.divergence!.mean).toBeGreaterThan(0.001);
    expect(small!.quality!.divergence!.sameTopShare).toBeGreaterThan(0.5);
    expect(exact!.quality!.texts.map(({ id }) => id)).toEqual(["en", "zh"]);
    expect(seen.map(({ share }) => share)).toEqual(seen.map(({ share }) => share).toSorted((a, b) => a - b));
    expect(report.overheadMs).toBeLessThan(report.durationMs);
    expect(left()).toEqual([]);
  }, 120_000);

  it("ends at once when it is cancelled, with its files and its process", async () => {
    const abort = new AbortController();
    const reason = new Error("enough");
    const running = compareModel({ model: "demo", quantizations: ["Q8_0", "Q4_K_M"] }, tools(), {
      signal: abort.signal,
      onProgress: ({ step }) => {
        if (step === "quality") abort.abort(reason);
      },
    });
    await expect(running).rejects.toBe(reason);
    expect(left()).toEqual([]);
  }, 60_000);

  it("takes the quantizations that lie beside a file, and tells what is wrong with one alone", async () => {
    const folder = join(root, "mine");
    mkdirSync(folder);
    copyFileSync(demoModelPath, join(folder, "mine-F16.gguf"));
    await quantizeFile(demoModelPath, join(folder, "mine-Q8_0.gguf"), "Q8_0");
    const report = await compareModel(
      {
        model: join(folder, "mine-F16.gguf"),
        quantizations: ["F16", "IQ2_XXS", "Q8_0"],
        prompts: [],
        contexts: [32],
        quality: false,
      },
      tools(),
      { signal: never },
    );
    const [exact, eight, two] = report.variants;
    expect([exact, eight].map((one) => [one!.quantization, one!.origin, one!.failure])).toEqual([
      ["F16", "disk", undefined],
      ["Q8_0", "disk", undefined],
    ]);
    expect(two!.failure).toMatchObject({ code: "invalid_request" });
    expect(two!.failure!.message).toContain("llama-quantize");
    expect(report).toMatchObject({ model: { name: "mine", demo: false } });
    expect(report.text).toBeUndefined();
  }, 60_000);

  it.each([
    ["nothing of that name", "no-such-model", "model_not_found"],
    ["a file that is no model", join(root, "text.gguf"), "model_file_invalid"],
    ["a file that ends early", join(root, "cut.gguf"), "model_file_invalid"],
  ])("refuses %s", async (_, model, code) => {
    writeFileSync(join(root, "text.gguf"), "not a model at all, but long enough to look at");
    copyFileSync(demoModelPath, join(root, "cut.gguf"));
    truncateSync(join(root, "cut.gguf"), 1_000_000);
    await expect(compareModel({ model }, tools(), { signal: never })).rejects.toMatchObject({ code });
  });

  it("says which files are missing where there is only a quantized one", async () => {
    const path = join(root, "alone-Q8_0.gguf");
    await quantizeFile(demoModelPath, path, "Q8_0");
    const running = compareModel({ model: path }, tools(), { signal: never });
    await expect(running).rejects.toMatchObject({ code: "invalid_request", param: "quantizations" });
  });
});

describe("files that are not here", () => {
  const hub = new HubServer();
  afterAll(() => hub.stop());

  it("are fetched from the hub once, told as such, and one that it does not have is told alone", async () => {
    const made = join(root, "published");
    mkdirSync(made);
    const files: Record<string, Uint8Array> = {};
    for (const mix of ["Q8_0", "Q4_0"] as const) {
      const path = join(made, `${mix}.gguf`);
      await quantizeFile(demoModelPath, path, mix);
      files[`Little-${mix}.gguf`] = readFileSync(path);
    }
    const hubUrl = await hub.start();
    const fetching = new ModelStore({
      dataDir: join(root, "fetched"),
      demoPath: demoModelPath,
      hubCacheDir: join(root, "hub"),
      ollamaDirs: [],
      hubUrl,
    });
    const served = hub.publish("ann/Little-GGUF", files);
    // A connection that breaks on the way is gone on with.
    Object.assign(served["Little-Q8_0.gguf"]!, { resets: 1, resetAfterBytes: 1_000_000 });
    const seen: CompareProgress[] = [];
    const compare = (model: string, quantizations: string[]) =>
      compareModel({ model, quantizations, prompts: [], contexts: [32], quality: false }, tools({ store: fetching }), {
        signal: never,
        onProgress: (progress) => seen.push(progress),
      });
    const first = await compare("hf:ann/Little-GGUF", ["Q8_0", "Q4_0", "Q2_K"]);
    expect(first.variants.map(({ quantization, origin, failure }) => [quantization, origin, failure?.code])).toEqual([
      ["Q8_0", "download", undefined],
      ["Q4_0", "download", undefined],
      ["Q2_K", undefined, "model_not_found"],
    ]);
    expect(first.variants[0]!.speeds).toHaveLength(1);
    expect(hub.requestsFor("Little-Q8_0.gguf")).toEqual(["whole", expect.stringMatching(/^bytes=[1-9]/)]);
    const shares = seen.filter((one) => one.quantization === "Q8_0" && one.step === "prepare");
    expect(shares.length).toBeGreaterThan(2);
    hub.server.seen.length = 0;
    await fetching.remove("Little-Q4_0");
    // By one of its files too: the others are of the same repository.
    const again = await compare("hf:ann/Little-GGUF:Q8_0", ["Q8_0", "Q4_0"]);
    expect(again.variants.map(({ origin }) => origin)).toEqual(["disk", "download"]);
    expect(hub.requestsFor("Little-Q8_0.gguf")).toEqual([]);
    expect(left()).toEqual([]);
  }, 120_000);
});

describe("a file quantized here", () => {
  it("has the mix's types, number and metadata, and a size as planned", async () => {
    const path = join(root, "mixed.gguf");
    const { fileBytes } = await quantizeFile(demoModelPath, path, "Q4_K_M");
    const [from, to] = [await readModelHeader(demoModelPath), await readModelHeader(path)];
    expect(await checkModelFile(path)).toMatchObject({ quantization: "Q4_K_M", architecture: "llama" });
    expect(to.fileBytes).toBe(fileBytes);
    const typeOf = new Map(to.tensors.map(({ name, type }) => [name, type]));
    expect(typeOf.get("blk.5.attn_v.weight")).toBe("Q6_K");
    expect(typeOf.get("blk.0.attn_v.weight")).toBe("Q4_K");
    expect(typeOf.get("blk.1.ffn_up.weight")).toBe("Q4_K");
    expect(typeOf.get("blk.0.attn_norm.weight")).toBe("F32");
    const { "general.file_type": _, ...kept } = from.metadata;
    expect(to.metadata).toMatchObject(kept);
  });

  it("is not made from a quantized one", async () => {
    const path = join(root, "once.gguf");
    await quantizeFile(demoModelPath, path, "Q8_0");
    const twice = quantizeFile(path, join(root, "twice.gguf"), "Q4_0");
    await expect(twice).rejects.toMatchObject({ code: "invalid_request" });
    expect(readdirSync(root).filter((name) => name.startsWith("twice"))).toEqual([]);
  });
});
