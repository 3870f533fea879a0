import { mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { MIB } from "../core/units.ts";
import type { LoadSettings } from "./ipc.ts";
import { serverArguments } from "./llama-server.ts";
import { createServerDeviceList, matchServerDevices, parseServerDevices } from "./llama-server-devices.ts";

const device = (id: string, name: string) => ({ id, name, vramBytesTotal: 16_380 * MIB });

describe("the list of a llama-server's devices", () => {
  test("has its GPUs, without what computes in main memory", () => {
    const text = `0.00.000.609 I srv  llama_server: initializing ...
Available devices:
  CUDA0: NVIDIA GeForce RTX 4060 Ti (16380 MiB, 15900 MiB free)
  Vulkan0: NVIDIA GeForce RTX 4060 Ti (Mesa) (16380 MiB, 15900 MiB free)
  BLAS: OpenBLAS (0 MiB, 0 MiB free)
`;
    expect(parseServerDevices(text)).toEqual([
      device("CUDA0", "NVIDIA GeForce RTX 4060 Ti"),
      device("Vulkan0", "NVIDIA GeForce RTX 4060 Ti (Mesa)"),
    ]);
    expect(parseServerDevices("Available devices:\n  (none)\n")).toEqual([]);
    expect(parseServerDevices("error: invalid argument: --list-devices\n")).toBeUndefined();
  });

  test("is asked for once, and again when the program has changed", async () => {
    const folder = mkdtempSync(join(tmpdir(), "snug-devices-"));
    try {
      const path = join(folder, "llama-server");
      writeFileSync(path, "");
      let asked = 0;
      const list = createServerDeviceList(async () => {
        asked++;
        return [];
      });
      await Promise.all([list(path), list(path)]);
      expect(asked).toBe(1);
      utimesSync(path, 1, 1);
      await list(path);
      expect(asked).toBe(2);
      expect(await createServerDeviceList(async () => Promise.reject(new Error("gone")))(path)).toBeUndefined();
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe("a plan's GPUs", () => {
  test.each<[string[], [string, string][], string[] | undefined]>([
    // In the plan's order, whatever the server's is.
    [
      ["RTX 3060", "RTX 3090"],
      [
        ["CUDA0", "RTX 3090"],
        ["CUDA1", "RTX 3060"],
      ],
      ["CUDA1", "CUDA0"],
    ],
    [
      ["RTX 3060", "RTX 3060"],
      [
        ["CUDA0", "RTX 3060"],
        ["CUDA1", "RTX 3060"],
      ],
      ["CUDA0", "CUDA1"],
    ],
    // Of one backend, although another sees them too.
    [
      ["A", "A"],
      [
        ["CUDA0", "A"],
        ["Vulkan0", "A (RADV)"],
        ["Vulkan1", "A (RADV)"],
      ],
      ["Vulkan0", "Vulkan1"],
    ],
    [
      ["RX 7900 XTX (RADV NAVI31)"],
      [
        ["Vulkan0", "Intel UHD"],
        ["Vulkan1", "RX 7900 XTX"],
      ],
      ["Vulkan1"],
    ],
    // Called differently, but as many.
    [
      ["Radeon A", "Radeon B"],
      [
        ["ROCm0", "gfx1100"],
        ["ROCm1", "gfx1030"],
      ],
      ["ROCm0", "ROCm1"],
    ],
    [["A", "B"], [["CUDA0", "A"]], undefined],
    [["A", "B"], [], undefined],
    [["A"], [["Vulkan0", "Intel UHD"]], undefined],
  ])("%j of %j are %j", (wanted, listed, expected) => {
    expect(
      matchServerDevices(
        listed.map(([id, name]) => device(id, name)),
        wanted,
      ),
    ).toEqual(expected);
  });
});

describe("one of two equal GPUs", () => {
  const names = ["RTX 3060", "RTX 3060"];
  const second = [false, true];

  test("is told by its place where the server sees both, and is the one it sees otherwise", () => {
    const both = [device("Vulkan0", "RTX 3060"), device("Vulkan1", "RTX 3060")];
    expect(matchServerDevices(both, names, second)).toEqual(["Vulkan1"]);
    expect(matchServerDevices([device("CUDA0", "RTX 3060")], names, second)).toEqual(["CUDA0"]);
    // CUDA sees the one card its environment leaves, Vulkan sees both.
    expect(matchServerDevices([device("CUDA0", "RTX 3060"), ...both], names, second)).toEqual(["CUDA0"]);
    expect(matchServerDevices([device("ROCm0", "gfx1100"), device("ROCm1", "gfx1100")], names, second)).toEqual([
      "ROCm1",
    ]);
  });
});

describe("the arguments of a llama-server", () => {
  const layer = { attention: "full", headCount: 4, headCountKv: 4, keyLength: 64, valueLength: 64 } as const;
  const layers = Array.from({ length: 32 }, () => ({ ...layer, ffn: "dense" as const, feedForwardLength: 256 }));
  const settings: LoadSettings & { contextLength: number } = {
    modelPath: "m.gguf",
    backend: "llama-server",
    contextLength: 4096,
    sequenceCount: 2,
    batchSize: 512,
    gpu: "auto",
    gpuLayers: 33,
    flashAttention: true,
    kvCacheTypeK: "F16",
    kvCacheTypeV: "F16",
  };
  const of = (changes: Partial<LoadSettings>, devices?: string[]) =>
    serverArguments({ ...settings, ...changes }, layers, devices).join(" ");

  test("give each of several GPUs the plan's own layers, in the plan's order", () => {
    expect(of({ gpuLayerSplit: [10, 0, 23] }, ["CUDA2", "CUDA0"])).toMatch(
      /^-c 8192 -np 2 -ngl 33 -b 512 -ub 512 -fa on -ts 10,23 -dev CUDA2,CUDA0 -sm layer --fit off /,
    );
  });

  test("name the one GPU of a plan that uses one of several, without shares", () => {
    const args = of({ gpuLayerSplit: [0, 33] }, ["CUDA1"]);
    expect(args).toContain(" -dev CUDA1 ");
    expect(args).not.toMatch(/-ts|-sm/);
  });

  test("leave devices to a server that does not list them, and shares as they are", () => {
    const args = of({ gpuLayerSplit: [10, 23] });
    expect(args).toContain(" -ts 10,23 ");
    expect(args).not.toMatch(/-dev|-sm/);
  });

  test("without layers there name no GPU at all", () => {
    expect(of({ gpu: false, gpuLayers: 0, gpuLayerSplit: [10, 23] })).toMatch(/-ngl 0 .*-dev none/);
    expect(of({ gpu: false, gpuLayers: 0, gpuLayerSplit: [10, 23] })).not.toMatch(/-ts/);
  });
});
