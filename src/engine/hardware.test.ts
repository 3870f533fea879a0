import { availableParallelism } from "node:os";
import { describe, expect, test, vi } from "vitest";
import { childProgram } from "../../test/support/local-engine.ts";
import { GIB, MIB } from "../core/units.ts";
import {
  askLlamaChild,
  countPhysicalCores,
  createHardwareProbe,
  type HardwareProbeOptions,
  parseNvidiaSmi,
  readAmdMemory,
  spreadMemory,
} from "./hardware.ts";
import type { LlamaDevices } from "./ipc.ts";

const vulkan: LlamaDevices = {
  backend: "vulkan",
  names: ["AMD Radeon RX 6600"],
  vramBytesTotal: 8 * GIB,
  vramBytesFree: 7 * GIB,
  mathCores: 4,
};

async function readGpus(options: Partial<HardwareProbeOptions>) {
  const probe = createHardwareProbe({
    program: childProgram,
    mayHaveGpu: async () => true,
    runCommand: async () => undefined,
    askLlama: async () => undefined,
    ...options,
  });
  const { gpus, backend } = await probe.read();
  return { gpus, backend };
}

describe("nvidia-smi", () => {
  test("tells each card by itself", () => {
    const text =
      "NVIDIA GeForce RTX 3060, 12288, 11000, 550.54.14\nNVIDIA GeForce GTX 1060 6GB, 6144, 5900, 550.54.14\n";
    expect(parseNvidiaSmi(text)).toEqual([
      {
        name: "NVIDIA GeForce RTX 3060",
        vramBytesTotal: 12288 * MIB,
        vramBytesFree: 11000 * MIB,
        driverVersion: "550.54.14",
      },
      {
        name: "NVIDIA GeForce GTX 1060 6GB",
        vramBytesTotal: 6144 * MIB,
        vramBytesFree: 5900 * MIB,
        driverVersion: "550.54.14",
      },
    ]);
  });

  test("a device that does not tell its memory is left out, an unknown free amount too", () => {
    expect(parseNvidiaSmi("NVIDIA GB10, [N/A], [N/A], 580.95\n")).toEqual([undefined]);
    expect(parseNvidiaSmi("Tesla P40, 23040, [N/A], 535.1\n")).toEqual([
      { name: "Tesla P40", vramBytesTotal: 23040 * MIB, driverVersion: "535.1" },
    ]);
  });

  test("a failing driver's text is no card", () => {
    const words = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n";
    expect(parseNvidiaSmi(words)).toEqual([undefined]);
    expect(parseNvidiaSmi("")).toEqual([]);
  });
});

describe("the GPUs of a machine", () => {
  test("are NVIDIA's by its own tool, with the backend llama.cpp would use", async () => {
    const cuda: LlamaDevices = { ...vulkan, backend: "cuda", names: ["NVIDIA L4"] };
    const found = await readGpus({
      runCommand: async () => "NVIDIA L4, 23034, 22563, 550.90.07",
      askLlama: async () => cuda,
    });
    expect(found).toMatchObject({ backend: "cuda", gpus: [{ name: "NVIDIA L4", vramBytesFree: 22563 * MIB }] });
  });

  test("are those that CUDA_VISIBLE_DEVICES leaves, each with its id", async () => {
    const line = (name: string, uuid: string) => `${name}, 16380, 16000, 550.90.07, ${uuid}`;
    const runCommand = async () => [line("RTX 4060 Ti", "GPU-aa1"), line("RTX 3060", "GPU-bb2"), ""].join("\n");
    const cuda: LlamaDevices = { ...vulkan, backend: "cuda" };
    const namesNow = async () => (await readGpus({ runCommand, askLlama: async () => cuda })).gpus;
    expect(await namesNow()).toMatchObject([{ uuid: "GPU-aa1" }, { uuid: "GPU-bb2" }]);
    vi.stubEnv("CUDA_VISIBLE_DEVICES", "1");
    try {
      expect(await namesNow()).toMatchObject([{ name: "RTX 3060", uuid: "GPU-bb2" }]);
    } finally {
      vi.unstubAllEnvs();
    }
  });

  test("are llama.cpp's where no tool tells", async () => {
    expect(await readGpus({ askLlama: async () => vulkan })).toEqual({
      backend: "vulkan",
      gpus: [{ name: "AMD Radeon RX 6600", vramBytesTotal: 8 * GIB, vramBytesFree: 7 * GIB }],
    });
  });

  test("are none when llama.cpp finds none or cannot say", async () => {
    expect(await readGpus({})).toEqual({ backend: "cpu", gpus: [] });
    const cpu: LlamaDevices = { backend: "cpu", names: [], vramBytesTotal: 0, vramBytesFree: 0, mathCores: 2 };
    expect(await readGpus({ askLlama: async () => cpu })).toEqual({ backend: "cpu", gpus: [] });
  });

  test("are not searched for where there can be none", async () => {
    const never = async () => Promise.reject(new Error("searched"));
    const found = await readGpus({ mayHaveGpu: async () => false, runCommand: never, askLlama: never });
    expect(found).toEqual({ backend: "cpu", gpus: [] });
  });

  test("of AMD's driver are told one by one", async () => {
    const files: Record<string, string> = {
      "/sys/class/drm/card0/device/mem_info_vram_total": "8573157376\n",
      "/sys/class/drm/card0/device/mem_info_vram_used": "573157376\n",
    };
    const memory = await readAmdMemory(
      async (path) => files[path],
      async () => ["card0", "card0-HDMI-A-1", "card1", "renderD128"],
    );
    expect(memory).toEqual([{ vramBytesTotal: 8573157376, vramBytesFree: 8e9 }]);
    expect(spreadMemory(vulkan, memory)).toEqual([{ name: "AMD Radeon RX 6600", ...memory[0] }]);
  });

  test("leave out integrated ones beside cards, as llama.cpp does; alone those are what there is", () => {
    const [card, small] = [
      { vramBytesTotal: 16 * GIB, vramBytesFree: 15 * GIB },
      { vramBytesTotal: GIB / 2, vramBytesFree: GIB / 4 },
    ];
    for (const integrated of [
      "AMD Radeon Graphics (RADV RAPHAEL_MENDOCINO)",
      "AMD Radeon 780M Graphics (RADV PHOENIX)",
      "AMD Radeon Vega 8 Graphics (RADV RAVEN)",
      "AMD Ryzen 7 7800X3D 8-Core Processor (RADV RAPHAEL_MENDOCINO)",
      "Intel(R) UHD Graphics 770 (ADL-S GT1)",
      "Intel(R) Iris(R) Xe Graphics (TGL GT2)",
    ]) {
      const names = [integrated, "AMD Radeon RX 7800 XT (RADV NAVI32)"];
      expect(spreadMemory({ ...vulkan, names }, [small, card])).toEqual([{ name: names[1], ...card }]);
      expect(spreadMemory({ ...vulkan, names: [integrated] }, [small])).toEqual([{ name: integrated, ...small }]);
    }
    const pair = ["Intel(R) Arc(tm) A770 Graphics (DG2)", "AMD Radeon RX Vega 64"];
    expect(spreadMemory({ ...vulkan, names: pair }, []).map(({ name }) => name)).toEqual(pair);
  });

  test("that only have a sum share it equally", () => {
    const two: LlamaDevices = { ...vulkan, names: ["A", "B"], vramBytesTotal: 16 * GIB, vramBytesFree: 12 * GIB };
    expect(spreadMemory(two, [])).toEqual([
      { name: "A", vramBytesTotal: 8 * GIB, vramBytesFree: 6 * GIB },
      { name: "B", vramBytesTotal: 8 * GIB, vramBytesFree: 6 * GIB },
    ]);
  });
});

describe("this machine", () => {
  test("has a CPU and memory that make sense", async () => {
    const reading = await createHardwareProbe({ program: childProgram }).read();
    expect(reading.cpu.name).not.toBe("");
    expect(reading.cpu.coresUsable).toBeGreaterThanOrEqual(1);
    expect(reading.cpu.coresUsable).toBeLessThanOrEqual(availableParallelism());
    expect(reading.cpu.coresPhysical).toBeGreaterThanOrEqual(1);
    expect(reading.ramBytesFree).toBeLessThan(reading.ramBytesTotal);
    expect(reading.ramBytesFree).toBeGreaterThan(64 * MIB);
    // Either there are GPUs with memory, or llama.cpp would use the CPU.
    expect(reading.gpus.every((gpu) => gpu.vramBytesTotal > 0)).toBe(true);
    expect(reading.gpus.length > 0).toBe(reading.backend !== "cpu");
  });

  test("is asked through a child of its own what llama.cpp sees", async () => {
    const devices = await askLlamaChild(childProgram);
    expect(devices?.mathCores).toBeGreaterThanOrEqual(1);
    expect(devices!.names.length > 0).toBe(devices!.vramBytesTotal > 0);
  });

  test("a child that cannot run gives no answer", async () => {
    expect(await askLlamaChild({ url: new URL("file:///nowhere/child.js"), execArgv: [] })).toBeUndefined();
  });
});

describe("physical cores", () => {
  const processor = (physical: number, core: number) =>
    `processor : 0\nphysical id\t: ${physical}\ncore id\t\t: ${core}\n`;

  test("count hyper-threads once and sockets apart", () => {
    const text = [processor(0, 0), processor(0, 1), processor(0, 0), processor(0, 1), processor(1, 0)].join("\n");
    expect(countPhysicalCores(text)).toBe(3);
  });

  test("are unknown where Linux does not tell, as on ARM", () => {
    expect(countPhysicalCores("processor : 0\nBogoMIPS : 50\n\nprocessor : 1\n")).toBeUndefined();
  });
});
