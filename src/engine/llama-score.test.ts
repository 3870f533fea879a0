import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { open, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { getLlama } from "node-llama-cpp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createGaussian } from "../../test/support/gguf/brain.ts";
import { findTestServer } from "../../test/support/llama-server.ts";
import { childProgram } from "../../test/support/local-engine.ts";
import { PlainLlama } from "../../test/support/plain-llama.ts";
import type { QualityScore } from "../fit/compare-report.ts";
import { readModelHeader } from "./check-model.ts";
import type { LoadSettings } from "./ipc.ts";
import { QUALITY_TEXTS } from "./quality-text.ts";
import { quantizeFile } from "./quantize/quantize-file.ts";
import type { ScoreTask } from "./task.ts";
import { withWorkbench } from "./workbench.ts";

const demoModelPath = fileURLToPath(new URL("../../models/demo/demo-chat-F16.gguf", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "snug-score-"));
const exact = join(folder, "exact.gguf");
const noisy = join(folder, "noisy.gguf");
const logits = join(folder, "reference.bin");
const windowTokens = 96;
const windowCount = 2;
const text = QUALITY_TEXTS[0]!.text.slice(0, 2000);
const signal = new AbortController().signal;

const settings = (path: string): LoadSettings => ({
  modelPath: path,
  contextLength: 512,
  sequenceCount: 1,
  batchSize: 128,
  gpu: false,
  gpuLayers: 0,
  flashAttention: "auto",
  // Float32 all through, so that llama.cpp's numbers are comparable to the last digits.
  kvCacheTypeK: "F32",
  kvCacheTypeV: "F32",
  threadsMax: 1,
});

/** The demo model in float32, and the same with a twentieth of noise on its matrices. */
beforeAll(async () => {
  await quantizeFile(demoModelPath, exact, "F32");
  await quantizeFile(demoModelPath, noisy, "F32");
  const header = await readModelHeader(noisy);
  const file = await open(noisy, "r+");
  const gaussian = createGaussian(11);
  for (const { name, dims, offset, bytes } of header.tensors) {
    if (dims.length < 2 || name === "token_embd.weight") continue;
    const raw = Buffer.alloc(bytes);
    await file.read(raw, 0, bytes, header.headerBytes + offset);
    const values = new Float32Array(raw.buffer, raw.byteOffset, bytes / 4);
    const size = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
    for (let i = 0; i < values.length; i++) values[i]! += 0.05 * size * gaussian();
    await file.write(raw, 0, bytes, header.headerBytes + offset);
  }
  await file.close();
});
afterAll(() => rmSync(folder, { recursive: true }));

const task = (reference?: ScoreTask["reference"]): ScoreTask => ({
  kind: "score",
  texts: [{ id: "en", text }],
  windowTokens,
  tokensMax: windowCount * (windowTokens / 2 - 1),
  ...(reference === undefined ? {} : { reference }),
});

/** Loads a model and scores the text with each of the references in turn. */
async function score(path: string, ...references: ScoreTask["reference"][]): Promise<QualityScore[]> {
  return await withWorkbench(childProgram, 1, async (bench) => {
    await bench.load(settings(path), signal);
    const results: QualityScore[] = [];
    for (const reference of references) results.push(await bench.run(task(reference), { signal }));
    return results;
  });
}

/** The same by plain arithmetic on the file's weights; only the words are cut by the library. */
async function plainScore() {
  const llama = await getLlama({ gpu: false, build: "never", skipDownload: true, progressLogs: false });
  const model = await llama.loadModel({ modelPath: exact, vocabOnly: true });
  const tokens = [...model.tokenize(text)] as number[];
  await llama.dispose();
  const [first, second] = [await PlainLlama.read(exact), await PlainLlama.read(noisy)];
  const sums = { exact: 0, noisy: 0, divergence: 0, sameTop: 0, count: 0 };
  for (let window = 0; window < windowCount; window++) {
    const own = tokens.slice(window * windowTokens, (window + 1) * windowTokens);
    const [left, right] = [first.predict(own), second.predict(own)];
    for (let at = windowTokens / 2; at < windowTokens - 1; at++) {
      const [p, q] = [left[at]!, right[at]!];
      sums.exact -= p[own[at + 1]!]!;
      sums.noisy -= q[own[at + 1]!]!;
      sums.divergence += p.reduce((nats, logP, token) => nats + Math.exp(logP) * (logP - q[token]!), 0);
      sums.sameTop += Number(p.indexOf(Math.max(...p)) === q.indexOf(Math.max(...q)));
      sums.count++;
    }
  }
  return sums;
}

describe("perplexity and divergence", () => {
  it("are those of the same model computed without llama.cpp", async () => {
    const [reference, again] = await score(exact, { mode: "write", path: logits }, { mode: "read", path: logits });
    const [other] = await score(noisy, { mode: "read", path: logits });
    const plain = await plainScore();
    expect(reference!.tokens).toBe(plain.count);
    expect(reference!.perplexity / Math.exp(plain.exact / plain.count)).toBeCloseTo(1, 3);
    expect(other!.perplexity / Math.exp(plain.noisy / plain.count)).toBeCloseTo(1, 3);
    expect(other!.divergence!.mean).toBeGreaterThan(0.001);
    expect(other!.divergence!.mean / (plain.divergence / plain.count)).toBeCloseTo(1, 2);
    expect(other!.divergence!.sameTopShare).toBeCloseTo(plain.sameTop / plain.count, 1);
    expect(reference!.texts).toEqual([{ id: "en", tokens: reference!.tokens, perplexity: reference!.perplexity }]);
    expect((await stat(logits)).size).toBe(reference!.tokens * 2048 * 4);
    // From itself a model diverges by nothing.
    expect(again!.divergence).toMatchObject({ mean: 0, max: 0, sameTopShare: 1 });
  }, 120_000);

  it("refuse a reference that ends early, and texts shorter than a window", async () => {
    const short = join(folder, "short.bin");
    await (await open(short, "w")).close();
    await withWorkbench(childProgram, 1, async (bench) => {
      await bench.load(settings(exact), signal);
      const early = bench.run(task({ mode: "read", path: short }), { signal });
      await expect(early).rejects.toMatchObject({ code: "invalid_request" });
      const brief = bench.run({ ...task(), texts: [{ id: "en", text: "No." }] }, { signal });
      await expect(brief).rejects.toMatchObject({ code: "invalid_request" });
    });
  }, 60_000);
});

/** Built beside the llama-server of the tests. */
async function findTool(name: string): Promise<string | undefined> {
  const server = await findTestServer();
  const path = server === undefined ? undefined : join(dirname(server), name);
  return path !== undefined && existsSync(path) ? path : undefined;
}

const [perplexityTool, quantizeTool] = [await findTool("llama-perplexity"), await findTool("llama-quantize")];

describe.skipIf(perplexityTool === undefined || quantizeTool === undefined)("llama.cpp's own tools", () => {
  const run = async (tool: string, args: string[]) => {
    const { stdout, stderr } = await promisify(execFile)(tool, args);
    return stdout + stderr;
  };
  const number = (text: string, pattern: RegExp) => Number(pattern.exec(text)?.[1]);

  it("find the same perplexity, and our quantization no further from the original than theirs", async () => {
    const file = join(folder, "text.txt");
    writeFileSync(file, QUALITY_TEXTS[0]!.text);
    const kept = join(folder, "reference.kld");
    const measuring = ["-t", "1", "--kl-divergence-base", kept];
    const told = await run(perplexityTool!, ["-m", demoModelPath, "-f", file, "-c", "512", ...measuring]);
    const theirs = number(told, /Final estimate: PPL = ([\d.]+)/);
    const task: ScoreTask = { kind: "score", texts: [QUALITY_TEXTS[0]!], windowTokens: 512, tokensMax: 5 * 255 };
    const ours = await withWorkbench(childProgram, 1, async (bench) => {
      const usual = { kvCacheTypeK: "F16", kvCacheTypeV: "F16" } as const;
      await bench.load({ ...settings(demoModelPath), ...usual }, signal);
      return await bench.run(task, { signal });
    });
    expect(ours.tokens).toBe(5 * 255);
    expect(ours.perplexity / theirs).toBeCloseTo(1, 2);

    const divergences: number[] = [];
    for (const [name, make] of [
      ["own", (path: string) => quantizeFile(demoModelPath, path, "Q4_K_M")],
      ["their", (path: string) => run(quantizeTool!, [demoModelPath, path, "Q4_K_M"])],
    ] as const) {
      const path = join(folder, `${name}.gguf`);
      await make(path);
      const compared = await run(perplexityTool!, ["-m", path, ...measuring, "--kl-divergence"]);
      divergences.push(number(compared, /Mean\s+KLD:\s+([\d.]+)/));
    }
    expect(divergences[0]! / divergences[1]!).toBeLessThan(1.1);
    expect((await stat(join(folder, "own.gguf"))).size).toBe((await stat(join(folder, "their.gguf"))).size);
  }, 120_000);
});
