/** The machine's facts through tools that are really run: stand-ins on PATH that print what real ones printed. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { diagnose } from "../core/doctor/diagnose.ts";
import type { HardwareReading } from "../core/ports.ts";
import { GIB, MIB } from "../core/units.ts";
import { machineSources } from "./gpu-condition.ts";
import { parseSwap, readMachineFacts } from "./machine-facts.ts";

const hardware: HardwareReading = {
  cpu: { name: "CPU", coresPhysical: 2, coresUsable: 2 },
  ramBytesTotal: 8 * GIB,
  ramBytesFree: 6 * GIB,
  gpus: [],
  backend: "cuda",
};
const sources = { ...machineSources, mayHaveGpu: async () => true, listFolder: async () => [] };

let folder: string;
const path = process.env.PATH;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "snug-tools-"));
  process.env.PATH = `${folder}${delimiter}${path}`;
});
afterEach(() => {
  process.env.PATH = path;
  rmSync(folder, { recursive: true });
});

function install(tool: string, script: string): void {
  writeFileSync(join(folder, tool), `#!/bin/sh\n${script}\n`);
  chmodSync(join(folder, tool), 0o755);
}
const recording = (name: string) => fileURLToPath(new URL(`../../test/fixtures/gpu/${name}`, import.meta.url));

describe.skipIf(process.platform === "win32")("facts of a machine", () => {
  test("come from nvidia-smi where it is on PATH", async () => {
    install("nvidia-smi", `[ "$1 $2" = "-q -x" ] && cat '${recording("nvidia-smi-rtx-3080.xml")}'`);
    const facts = await readMachineFacts({ hardware, dataDir: join(folder, "not", "there", "yet"), sources });
    expect(facts.gpus).toMatchObject([{ name: "NVIDIA GeForce RTX 3080", driverVersion: "536.40" }]);
    expect(facts.disk.bytesFree).toBeGreaterThan(0);
    const findings = diagnose(facts, "en");
    expect(findings.find(({ check }) => check === "resizable_bar")).toMatchObject({ verdict: "ok" });
    expect(findings.find(({ check }) => check === "vram")?.text).toContain("held by Xorg 550 MiB, firefox 541 MiB");
  });

  test("come from rocm-smi where there is no other word of an AMD card", async () => {
    install("nvidia-smi", "exit 9");
    install("rocm-smi", `cat '${recording("rocm-smi-rx-6700-xt.json")}'`);
    const { gpus } = await readMachineFacts({ hardware, dataDir: folder, sources });
    expect(gpus).toMatchObject([{ vendor: "amd", barBytes: 256 * MIB, temperatureCelsius: 47 }]);
  });

  test("name what runs the loaded model before what the settings would choose", async () => {
    install("nvidia-smi", "exit 9");
    const running = { backend: "llama-server" as const, reason: { en: "The plan needs it.", zh: "方案需要。" } };
    const { program } = await readMachineFacts({ hardware, dataDir: folder, sources, running });
    expect(program).toEqual({ name: "llama-server", reason: running.reason });
  });

  test("name the llama-server that is on PATH, and why it is or is not used", async () => {
    install("llama-server", "exit 0");
    const backend = { wanted: "llama-server" as const, serverPath: undefined };
    const { program } = await readMachineFacts({ hardware, dataDir: folder, sources, backend });
    expect(program).toMatchObject({ name: "llama-server", reason: { en: expect.stringContaining("ask") } });
  });
});

test("swap is read from the kernel's own list", () => {
  expect(parseSwap("MemTotal: 100 kB\nSwapTotal:       2097148 kB\nSwapFree:        1048576 kB\n")).toEqual({
    bytesTotal: 2097148 * 1024,
    bytesFree: GIB,
  });
  expect(parseSwap("")).toBeUndefined();
});
