/** `snug models` as a user runs it, against a hub of the test's own. */
import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { writeModel } from "../support/gguf/write-model.ts";
import { HubServer } from "../support/hub-server.ts";
import { runSnug, type SnugServerProcess, startSnug } from "../support/snug-process.ts";

const hub = new HubServer();
let hubUrl: string;
let folder: string;
let bytes: Uint8Array;
let server: SnugServerProcess | undefined;

beforeAll(async () => {
  hubUrl = await hub.start();
  folder = await mkdtemp(join(tmpdir(), "snug-models-e2e-"));
  bytes = await readFile(
    writeModel(join(folder, "model.gguf"), { shape: "small", brain: "script", type: "Q8_0" }).path,
  );
});
afterAll(async () => {
  server?.process.kill("SIGKILL");
  await server?.exited;
  await hub.stop();
  await rm(folder, { recursive: true, force: true });
});

const environment = (more: Record<string, string> = {}) => ({
  SNUG_DATA_DIR: join(folder, "data"),
  HF_ENDPOINT: hubUrl,
  HF_HUB_CACHE: join(folder, "cache"),
  HF_TOKEN: "",
  OLLAMA_MODELS: join(folder, "ollama"),
  ...more,
});

async function models(...args: string[]): Promise<{ code: number | string; stdout: string; output: string }> {
  const snug = runSnug(["models", ...args], environment());
  const code = await snug.exited;
  return { code, stdout: snug.stdout(), output: snug.output() };
}

test("a model is pulled over a broken connection, listed, looked into, served and removed", async () => {
  const reference = "hf:ann/Tiny-GGUF:Q8_0";
  Object.assign(hub.publish("ann/Tiny-GGUF", { "Tiny-Q8_0.gguf": bytes })["Tiny-Q8_0.gguf"]!, {
    resets: 1,
    resetAfterBytes: 5_000_000,
  });
  expect((await models("list")).stdout).toContain("snug models pull");

  const pulled = await models("pull", reference);
  expect(pulled.output).toContain("100 %");
  expect([pulled.code, pulled.stdout]).toEqual([0, expect.stringContaining("SNUG_MODEL=Tiny-Q8_0 snug start")]);
  expect(hub.requestsFor("Tiny-Q8_0.gguf")).toEqual(["whole", expect.stringMatching(/^bytes=[1-9]/)]);
  expect((await models("pull", reference)).stdout).toContain("already");

  await mkdir(join(folder, "cache/models--bob--Other/snapshots/r"), { recursive: true });
  await writeFile(join(folder, "cache/models--bob--Other/snapshots/r/Other-F16.gguf"), bytes);
  const listed = JSON.parse((await models("list", "--json")).stdout) as { models: object[] };
  expect(listed.models).toMatchObject([
    { id: "Tiny-Q8_0", source: "snug", quantization: "Q8_0", origin: "hf:ann/Tiny-GGUF", complete: true },
    { id: "Other-F16", source: "huggingface", origin: "hf:bob/Other" },
  ]);
  const info = await models("info", "tiny");
  expect(info.stdout).toMatch(/Parameters\s+\d+.*qwen3/);
  expect(info.stdout).toMatch(/On this machine\s+\S/);

  server = await startSnug(environment({ SNUG_MODEL: "tiny-q8_0", SNUG_ENGINE_TOKEN: "t" }), ["engine"]);
  const headers = { authorization: "Bearer t" };
  const status = (await (await fetch(`${server.address}/status`, { headers })).json()) as { models: object[] };
  expect(status.models).toMatchObject([{ id: "Tiny-Q8_0", state: "ready", ladder: [] }]);
  server.process.kill("SIGTERM");
  expect(await server.exited).toBe(0);
  const record = JSON.parse(await readFile(join(folder, "data/engine-memory.json"), "utf8")) as { records: object[] };
  expect(record.records).toMatchObject([{ model: "Tiny-Q8_0", measured: { gpuBytes: 0 } }]);

  expect((await models("rm", "Other-F16")).output).toContain("belongs to the Hugging Face cache");
  const removed = await models("rm", "tiny-q8_0");
  expect([removed.code, removed.stdout]).toEqual([0, expect.stringContaining("removed")]);
  expect((await models("rm", "tiny-q8_0")).code).toBe(1);
});

test("what cannot be had is told in one sentence with what to do", async () => {
  hub.publish("ann/Gated-GGUF", { "Gated-Q4_0.gguf": bytes }, { token: "secret" });
  const gated = await models("pull", "hf:ann/Gated-GGUF:Q4_0");
  expect(gated).toMatchObject({ code: 1, stdout: "" });
  expect(gated.output).toMatch(/accept its terms at .*Gated-GGUF.*HF_TOKEN/);
  expect((await models("pull", "hf:ann/Nothing-GGUF")).output).toMatch(/404/);
  expect((await models("info", "qwen3-8bb")).output).toMatch(/Did you mean/);
  expect((await models("pull")).output).toMatch(/missing required argument/);
  expect((await models("fetch")).output).toMatch(/unknown command 'fetch'/);
  expect((await models("pull", "http://")).output).toMatch(/must end in the name of a GGUF file/);
  const file = join(folder, "model.gguf");
  expect((await models("pull", file)).stdout).toContain(`SNUG_MODEL=${file} snug start`);
  for (const answer of [gated]) expect(answer.output).not.toMatch(/\bat .*\.js:\d+/);
});

test.skipIf(process.platform === "win32")(
  "a disk that fills up on the way is told, and the rest comes later",
  async () => {
    hub.publish("ann/Full-GGUF", { "Full-Q8_0.gguf": bytes });
    const entry = fileURLToPath(new URL("../../dist/entries/cli.js", import.meta.url));
    // Stands for a full disk: no file of this process may grow beyond a few thousand blocks.
    const limited = spawn(
      "sh",
      ["-c", `ulimit -f 4000; exec "$@"`, "sh", process.execPath, entry, "models", "pull", "hf:ann/Full-GGUF:Q8_0"],
      {
        env: { ...process.env, ...environment() },
      },
    );
    let told = "";
    limited.stderr.on("data", (text: Buffer) => {
      told += text;
    });
    expect(await new Promise((resolve) => limited.once("close", resolve))).toBe(1);
    expect(told).toMatch(/cannot be written to .*models.* Free some space/);
    expect((await models("list")).stdout).toMatch(/Full-Q8_0 .*not finished/);
    expect((await models("pull", "hf:ann/Full-GGUF:Q8_0")).code).toBe(0);
    expect(hub.requestsFor("Full-Q8_0.gguf").at(-1)).toMatch(/^bytes=[1-9]/);
  },
);
