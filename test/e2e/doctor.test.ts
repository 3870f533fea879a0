/** `snug doctor` as people and programs run it: the built command, its exit codes and what it must not print. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runSnug } from "../support/snug-process.ts";

let folder: string;
let platforms: Server;
let environment: Record<string, string>;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "snug-doctor-"));
  platforms = createServer((_request, reply) => reply.setHeader("content-type", "application/json").end("{}"));
  await new Promise<void>((resolve) => platforms.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(platforms.address() as AddressInfo).port}/api/`;
  // Port 0 is nobody's, so nothing is said of ports.
  environment = { PORT: "0", SNUG_DATA_DIR: folder, DISCORD_API_URL: url, SLACK_API_URL: url };
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await new Promise((resolve) => platforms.close(resolve));
});

async function doctor(args: string[], more: Record<string, string> = {}) {
  const snug = runSnug(["doctor", ...args], { ...environment, ...more });
  const code = await snug.exited;
  return { code, stdout: snug.stdout() };
}

interface Told {
  verdict: string;
  findings: { check: string; verdict: string; text: string; remedy?: string }[];
}

describe("snug doctor", () => {
  it("ends with 0 when nothing is a problem, and finds who answers and what time it is", async () => {
    const { code, stdout } = await doctor(["--json"]);
    const told = JSON.parse(stdout) as Told;
    expect(told.findings.filter(({ verdict }) => verdict === "problem")).toEqual([]);
    expect(code).toBe(0);
    const verdicts = Object.fromEntries(told.findings.map(({ check, verdict }) => [check, verdict]));
    expect(verdicts).toMatchObject({
      node: "ok",
      sqlite: "ok",
      discord: "ok",
      slack: "ok",
      clock: "ok",
      api: "warning",
    });
  });

  it("ends with 1 and says why, in Chinese if need be, without printing the token", async () => {
    const token = "xoxp-not-a-bot-token-0123456789";
    const { code, stdout } = await doctor([], { SLACK_BOT_TOKEN: token, LANG: "zh_CN.UTF-8" });
    expect(code).toBe(1);
    expect(stdout).toMatch(/^problem {2}SLACK_BOT_TOKEN 格式不对\n {9}请重新复制：应形如 xoxb-…/m);
    expect(stdout).not.toContain(token);
  });

  it("shows what was learned, forgets it when told, and refuses nothing when there is nothing", async () => {
    const load = {
      at: 1,
      device: "cpu Ryzen",
      build: "node-llama-cpp 1",
      architecture: "qwen3",
      model: "m",
      contextLength: 2048,
      sequenceCount: 1,
      batchSize: 512,
      gpuLayers: 0,
      kvCacheTypeK: "F16",
      kvCacheTypeV: "F16",
      predicted: { hostBytes: 1, gpuBytes: 0 },
      measured: { hostBytes: 1, gpuBytes: 0 },
      runtimeBytesPredicted: 0,
      gpuCount: 0,
    };
    writeFileSync(join(folder, "engine-memory.json"), JSON.stringify({ version: 1, records: [load] }));
    expect((await doctor(["--profile"])).stdout).toContain("qwen3 · cpu Ryzen · node-llama-cpp 1");
    const reset = await doctor(["--reset-profile", "--json"]);
    expect(JSON.parse(reset.stdout).removed).toEqual([join(folder, "engine-memory.json")]);
    const { code, stdout } = await doctor(["--profile", "--json"]);
    expect([code, JSON.parse(stdout)]).toEqual([0, { profile: [] }]);
  });
});
