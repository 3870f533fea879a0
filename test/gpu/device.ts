/** The GPU under test: what llama.cpp sees of it, and where results are kept. */
import { fork } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { deviceProbeMsMax } from "../../src/core/limits.ts";
import type { HardwareReading } from "../../src/core/ports.ts";
import { createHardwareProbe } from "../../src/engine/hardware.ts";
import type { ChildMessage, GpuChoice, LlamaDevices, ParentMessage } from "../../src/engine/ipc.ts";
import { childProgram } from "../support/local-engine.ts";

export interface TestDevice {
  devices: LlamaDevices;
  reading: HardwareReading;
  /** What the loader is told. */
  gpu: Exclude<GpuChoice, false>;
  /** Mesa's software driver: right answers, no memory of its own, and no speed worth a word. */
  software: boolean;
}

/** SNUG_TEST_GPU names a backend to use even where no device file says there is a GPU. */
const wanted = (process.env.SNUG_TEST_GPU || "auto") as TestDevice["gpu"];

/** A reason in words where there is no GPU. */
export async function findDevice(): Promise<TestDevice | string> {
  const devices = await probe(wanted);
  if (devices === undefined) return "llama.cpp did not start.";
  if (devices.backend === "cpu" || devices.names.length === 0) {
    const hint = "On a machine without one, Mesa's software device does as a dry run:";
    return `There is no CUDA, Vulkan, ROCm or Metal device here. ${hint} GGML_VK_VISIBLE_DEVICES=0 SNUG_TEST_GPU=vulkan npm run test:gpu`;
  }
  const reading = await createHardwareProbe({
    program: childProgram,
    askLlama: async () => devices,
    mayHaveGpu: async () => true,
  }).read();
  const software = devices.names.every((name) => /llvmpipe|swiftshader|software/i.test(name));
  return { devices, reading, gpu: wanted, software };
}

async function probe(gpu: GpuChoice): Promise<LlamaDevices | undefined> {
  const child = fork(childProgram.url, {
    execArgv: [...childProgram.execArgv],
    stdio: ["ignore", "ignore", "ignore", "ipc"],
  });
  const patience = setTimeout(() => child.kill("SIGKILL"), deviceProbeMsMax);
  try {
    return await new Promise((resolve) => {
      child.on("message", (message: ChildMessage) => {
        if (message.type === "devices") resolve(message.devices);
        if (message.type === "load_failed") resolve(undefined);
      });
      child.once("exit", () => resolve(undefined));
      const question: ParentMessage = { type: "probe", gpu };
      child.send(question, () => {});
    });
  } finally {
    clearTimeout(patience);
    child.kill("SIGKILL");
  }
}

/** Results by the name of the test, written after each so that a crash keeps what came before. */
export function createResults({ devices, reading, software }: TestDevice) {
  const results: Record<string, unknown> = {};
  const slug = `${devices.backend}-${devices.names[0] ?? "gpu"}`
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .slice(0, 60)
    .replace(/-+$/, "");
  const folder = fileURLToPath(new URL("./results/", import.meta.url));
  const machine = {
    backend: devices.backend,
    gpus: devices.names,
    vramBytesTotal: devices.vramBytesTotal,
    vramBytesFree: devices.vramBytesFree,
    driverVersion: reading.gpus[0]?.driverVersion,
    software,
    cpu: cpus()[0]?.model.trim(),
    cores: cpus().length,
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
  };
  return (name: string, result: unknown) => {
    results[name] = result;
    mkdirSync(folder, { recursive: true });
    const date = new Date().toISOString();
    writeFileSync(`${folder}${slug}.json`, `${JSON.stringify({ date, machine, results }, null, 2)}\n`);
    console.log(name, JSON.stringify(result));
  };
}
