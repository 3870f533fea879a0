/** `snug fits` as people and programs run it: the built command, its streams, its files and its exit codes. */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { fitsAnswerSchema } from "../../src/fit/door-answer-schema.ts";
import { fitsReplySchema } from "../../src/fit/door-schema.ts";
import { writeModel } from "../support/gguf/write-model.ts";
import { runSnug } from "../support/snug-process.ts";

const folder = mkdtempSync(join(tmpdir(), "fits-"));
afterAll(() => rmSync(folder, { recursive: true }));

async function fits(args: string[], environment: Record<string, string> = {}, input?: string) {
  // Not what this machine has learned of itself.
  const snug = runSnug(["fits", ...args], { SNUG_DATA_DIR: folder, ...environment }, input);
  const code = await snug.exited;
  const stdout = snug.stdout();
  return { code, stdout, stderr: snug.output().replace(stdout, "") };
}

describe("snug fits", () => {
  it("says the verdict first and the reason second, on stdout alone", async () => {
    const { code, stdout, stderr } = await fits(["13b", "6gb"]);
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(/^Partly: \d\d of 41 layers of a 13B model at Q4_K_M fit on a 6 GB GPU/);
    expect(stdout).toMatch(/\n\nAsked {2,}13B model · 6 GB GPU\n/);
    expect(stdout).not.toContain("\u001b");
    expect(Math.max(...stdout.split("\n").map((line) => line.length))).toBeLessThanOrEqual(100);
  });

  it.each([
    ["--lang", ["13b 6gb", "--lang", "zh"], {}],
    ["the system's language", ["13b 6gb"], { LANG: "zh_CN.UTF-8" }],
    ["SNUG_LANG", ["13b 6gb"], { SNUG_LANG: "zh" }],
  ])("answers in Chinese by %s", async (_, args, environment) => {
    const { code, stdout } = await fits(args, environment as Record<string, string>);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^部分可以：13B 模型（Q4_K_M）的 41 层有 \d\d 层/);
    expect(stdout).toMatch(/\n速度 /);
  });

  it("paints only where that is wanted", async () => {
    const { stdout } = await fits(["13b 6gb"], { NO_COLOR: "", FORCE_COLOR: "1" });
    expect(stdout.startsWith("\u001b[1;38;5;214m")).toBe(true);
  });

  it.each(["13b 6gb", "3060笔记本能跑什么"])("writes %s as JSON that its schema holds", async (query) => {
    const { code, stdout } = await fits([query, "--json"]);
    expect(code).toBe(0);
    const answer = JSON.parse(stdout);
    expect(fitsAnswerSchema.parse(answer)).toEqual(answer);
  });

  it("writes every tool's settings with --launch", async () => {
    const { stdout } = await fits(["qwen3-8b q4_k_m 12gb", "--launch"]);
    for (const tool of ["llama-server", "FROM", "BitsAndBytesConfig", "vllm serve"]) expect(stdout).toContain(tool);
  });

  it("draws SVG and PNG, and prints its answer all the same", async () => {
    const svg = join(folder, "plan.svg");
    const png = join(folder, "plan.png");
    const { code, stdout } = await fits(["13b 6gb", "--svg", svg, "--png", png]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^Partly/);
    const drawing = readFileSync(svg, "utf8");
    expect(drawing).toMatch(/^<svg .*>13B model Q4_K_M on a 6 GB GPU<\/text>/s);
    const picture = readFileSync(png);
    expect(picture.subarray(0, 8).toString("latin1")).toBe("\u0089PNG\r\n\u001a\n");
    expect([picture.readUInt32BE(16), picture.length < 200_000]).toEqual([1440, true]);
  });

  it("reads the types in a model's file", async () => {
    const path = join(folder, "small.gguf");
    writeModel(path, { shape: "small", type: "Q8_0", architecture: "qwen3", brain: "zeros" });
    const { code, stdout } = await fits([path, "8gb", "--json"]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ plan: { model: { provenance: "gguf" }, fits: true } });
  });

  it("takes speeds measured on the machine", async () => {
    const runs = join(folder, "runs.json");
    writeFileSync(
      runs,
      JSON.stringify([{ query: "qwen3-8b q4_k_m ctx 8k", decodeTokensPerSecond: 20, depthTokens: 512 }]),
    );
    const ask = ["qwen3-8b q4_k_m 3060 ctx 8k", "--json"];
    const plain = JSON.parse((await fits(ask)).stdout);
    const measured = JSON.parse((await fits([...ask, "--measured", runs])).stdout);
    expect(plain.plan.speed.decodeTokensPerSecond).toBeGreaterThan(30);
    expect(measured.plan.speed.decodeTokensPerSecond).toBeCloseTo(20, 0);
  });

  it.each<[string, string[], RegExp]>([
    ["no question", [], /13b 6gb/],
    ["a riddle", ["osmium"], /could not find a model/],
    ["a misspelling", ["qwem3-8b 6gb"], /Did you mean/],
    ["an unknown option", ["6gb", "--colour"], /unknown option/],
    ["a language nobody wrote", ["6gb", "--lang", "fr"], /en, zh/],
    ["a file that is not there", ["./nowhere.gguf 8gb"], /no file/],
    ["a picture of a word", ["what is nf4", "--svg", join(folder, "word.svg")], /no picture/],
    ["a folder that is not there", ["6gb", "--svg", join(folder, "none", "a.svg")], /could not be written/],
    ["measured runs that are not there", ["8b 8gb", "--measured", join(folder, "none.json")], /could not be read/],
    ["measured runs without a machine", ["70b", "--measured", join(folder, "none.json")], /need a machine/],
    ["pictures of a batch", ["--batch", "--png", join(folder, "b.png")], /--batch/],
  ])("ends with 1 and a sentence for %s", async (_, args, message) => {
    const { code, stdout, stderr } = await fits(args);
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/\bat .*\.js:\d+/);
  });

  it("leaves no picture behind that it could not draw", () => {
    expect(existsSync(join(folder, "word.svg"))).toBe(false);
  });
});

describe("snug fits --batch", () => {
  const lines = [
    '{"id": 1, "query": "13b 6gb"}',
    "",
    "not json",
    '{"id": "two", "query": "6gb"}',
    '{"id": 3, "model": "Qwen3 8B", "hardware": {"devices": [{"vramBytesTotal": 8}]}}',
    `{"id": 4, "query": "${"x".repeat(300_000)}"}`,
    '{"id": 5, "model": {"gguf": "/etc/hostname"}, "hardware": "8gb"}',
    '{"id": 6, "model": {"metadata": {"general.architecture": "llama", "llama.block_count": 1e308}}, "hardware": "8gb"}',
    '{"id": 7, "model": {"config": {"model_type": "llama"}}, "hardware": "8gb"}',
    '{"id": 8, "__proto__": {"query": "13b 6gb"}, "model": "8b", "hardware": "8gb"}',
    `${"[".repeat(50_000)}`,
    "[]",
    "null",
    '{"id": 9, "model": "Qwen2.5 32B", "framework": "vllm", "quantization": "awq", "hardware": "2x3090"}',
    '{"id": 10, "query": "what is nf4"}',
    '{"id": 11, "model": "8b", "hardware": "8gb", "settings": {"contextLength": 2147483647}}',
    '{"id": 12, "model": "Llama 3.1 8B", "quantization": "Q4_K_M", "hardware": "8gb"}',
  ];
  const members = [
    "plan",
    "error",
    "answer",
    "error",
    "error",
    "error",
    "error",
    "error",
    "plan",
    "error",
    "error",
    "error",
    "plan",
    "answer",
    "refusal",
    "plan",
  ];

  it("answers line for line, in order, and stops at none that is wrong", async () => {
    const { code, stdout, stderr } = await fits(["--batch"], {}, `\uFEFF${lines.join("\r\n")}`);
    expect([code, stderr]).toEqual([0, ""]);
    const replies = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(replies.map((reply) => Object.keys(reply).find((key) => key !== "id"))).toEqual(members);
    expect(replies.map(({ id }) => id)).toEqual([1, null, "two", 3, null, 5, 6, 7, 8, null, null, null, 9, 10, 11, 12]);
    for (const reply of replies) expect(fitsReplySchema.safeParse(reply).error?.issues ?? []).toEqual([]);
    for (const { error } of replies) expect(error?.code).not.toBe("internal");
  });

  it("gives nothing for nothing", async () => {
    expect(await fits(["--batch"], {}, "\n\n")).toEqual({ code: 0, stdout: "", stderr: "" });
  });

  it("answers while questions still come", async () => {
    const open = spawnBatch();
    open.stdin.write('{"id": 1, "query": "13b 6gb"}\n');
    const first = await new Promise<string>((resolve) =>
      open.stdout.once("data", (data: Buffer) => resolve(`${data}`)),
    );
    expect(JSON.parse(first)).toMatchObject({ id: 1, plan: { fits: true } });
    open.stdin.end();
    expect(await exitOf(open)).toEqual({ code: 0, stderr: "" });
  });

  it("ends quietly when its reader has gone", async () => {
    const batch = spawnBatch();
    batch.stdin.on("error", () => {});
    batch.stdout.once("data", () => batch.stdout.destroy());
    batch.stdin.end('{"id": 1, "query": "13b 6gb"}\n'.repeat(500));
    expect(await exitOf(batch)).toEqual({ code: 0, stderr: "" });
  });
});

function spawnBatch() {
  const entry = fileURLToPath(new URL("../../dist/entries/cli.js", import.meta.url));
  return spawn(process.execPath, [entry, "fits", "--batch"], { stdio: "pipe" });
}

async function exitOf(child: ReturnType<typeof spawnBatch>): Promise<{ code: number | null; stderr: string }> {
  let stderr = "";
  child.stderr.on("data", (data: Buffer) => {
    stderr += data;
  });
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  return { code, stderr };
}
