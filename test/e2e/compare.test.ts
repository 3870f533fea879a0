/** `snug compare` and `snug bench` as a user runs them, and a comparison on a running server. */
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { CompareJob, ComparisonReport } from "../../src/fit/compare-report.ts";
import { runSnug, type SnugServerProcess, startSnug } from "../support/snug-process.ts";

let folder: string;
let server: SnugServerProcess | undefined;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "snug-compare-e2e-"));
});
afterAll(async () => {
  server?.process.kill("SIGKILL");
  await server?.exited;
  await rm(folder, { recursive: true, force: true });
});

/** A port nothing listens on, so that no server of the machine is in the way. */
const environment = () => ({ SNUG_DATA_DIR: join(folder, "data"), PORT: "1", SNUG_THREADS: "1" });
const brief = ["--contexts", "32", "--prompt", "What is the KV cache?", "-n", "12"];

test("the demo model is compared at two precisions, as JSON and as a picture", async () => {
  const svg = join(folder, "compare.svg");
  const snug = runSnug(["compare", "-q", "f16,q4_k_m", ...brief, "--json", "--svg", svg], environment());
  expect(await snug.exited, snug.output()).toBe(0);
  const report = JSON.parse(snug.stdout()) as ComparisonReport;
  expect(report.variants.map(({ quantization }) => quantization)).toEqual(["F16", "Q4_K_M"]);
  expect(report.variants.every(({ failure }) => failure === undefined)).toBe(true);
  expect(report.variants[1]!.quality!.divergence!.mean).toBeGreaterThan(0);
  expect(snug.output()).toContain("Q4_K_M: measuring quality");
  expect(await readFile(svg, "utf8")).toMatch(/^<svg .*Q4_K_M.*<\/svg>$/s);
  expect(await readdir(join(folder, "data"))).toEqual([]);
});

test("Ctrl-C cancels a comparison, which leaves no file and no process", async () => {
  const snug = runSnug(["compare", "-q", "q8_0,q4_0"], environment());
  const begun = new Promise<void>((resolve) => {
    snug.process.stderr!.on("data", () => {
      if (snug.output().includes("loading")) resolve();
    });
  });
  await Promise.race([begun, snug.exited]);
  snug.process.kill("SIGINT");
  expect(await snug.exited, snug.output()).toBe(130);
  expect(snug.output()).toContain("Cancelled; nothing is left behind.");
  expect(snug.stdout()).toBe("");
  expect(await readdir(join(folder, "data"))).toEqual([]);
});

test("a bench is a table, a profile that the planner reads, and a file to share", async () => {
  const [out, share] = [join(folder, "profile.json"), join(folder, "shared.json")];
  const files = ["--out", out, "--share", share];
  const snug = runSnug(
    ["bench", "--contexts", "64", "--parallel", "1,2", "-n", "16", "--repetitions", "1", ...files],
    environment(),
  );
  expect(await snug.exited, snug.output()).toBe(0);
  expect(snug.stdout()).toContain("tokens/s");
  const shared = await readFile(share, "utf8");
  expect(snug.output()).toContain(shared.trim());
  expect(shared).not.toContain(folder);
  const fits = runSnug(["fits", "qwen3-0.6b q8_0 cpu 16gb ram", "--measured", out, "--json"], environment());
  expect(await fits.exited, fits.output()).toBe(0);
});

test("wrong wishes are refused in a sentence", async () => {
  const cases: [string[], string][] = [
    [["compare", "-q", "../../etc"], "quantizations.0 must be a quantization"],
    [["compare", "no-such-model"], "no file on this disk"],
    [["compare", "-q", "f16", "--contexts", "1"], "contexts.0 must be at least 16"],
    [["bench", "--parallel", "0"], "--parallel is 1 to 64"],
  ];
  for (const [args, said] of cases) {
    const snug = runSnug(args, environment());
    expect(await snug.exited).toBe(1);
    expect(snug.output()).toContain(said);
  }
});

test("a running server measures as a job, follows it as events, and keeps the report", async () => {
  server = await startSnug({ SNUG_DATA_DIR: join(folder, "server"), SNUG_THREADS: "1" });
  const { address, key } = server;
  const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
  const begun = await fetch(`${address}/v1/compare`, {
    method: "POST",
    headers,
    body: JSON.stringify({
      model: "demo",
      quantizations: ["f16", "q8_0"],
      contexts: [32],
      prompts: ["Hello"],
      maxTokens: 8,
      quality: false,
    }),
  });
  expect(begun.status).toBe(202);
  const { id } = (await begun.json()) as CompareJob;
  const following = await fetch(`${address}/v1/compare/${id}`, {
    headers: { ...headers, accept: "text/event-stream" },
  });
  const events = [...(await following.text()).matchAll(/^data: (.*)$/gm)].map((match) => JSON.parse(match[1]!));
  expect(events.at(-1)).toMatchObject({ type: "report", report: { model: { name: "demo" } } });
  const kept = (await (await fetch(`${address}/v1/compare/${id}`, { headers })).json()) as CompareJob;
  expect(kept.report!.variants.map(({ speeds }) => speeds.length)).toEqual([1, 1]);
});
