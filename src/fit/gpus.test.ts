import { describe, expect, it } from "vitest";
import { GIB, MIB } from "../core/units.ts";
import { findGpu, GPUS, parseHardwareName, suggestGpus } from "./gpus.ts";

describe("the card table", () => {
  it("holds at least 150 cards and machines, each name once", () => {
    expect(GPUS.length).toBeGreaterThanOrEqual(150);
    expect(new Set(GPUS.map((gpu) => gpu.name)).size).toBe(GPUS.length);
  });

  it("gives every row a source, a memory size and plausible rates", () => {
    for (const gpu of GPUS) {
      expect(gpu.source.length, gpu.name).toBeGreaterThan(10);
      expect(gpu.vramBytes.length, gpu.name).toBeGreaterThan(0);
      for (const bytes of gpu.vramBytes) expect(bytes, gpu.name).toBeGreaterThanOrEqual(2 * GIB);
      const { bandwidthBytesPerSecond: bandwidth, fp16FlopsPerSecond: fp16 } = gpu;
      if (bandwidth !== undefined) expect(bandwidth, gpu.name).toBeGreaterThan(50e9);
      if (bandwidth !== undefined) expect(bandwidth, gpu.name).toBeLessThan(10e12);
      // Matrix rate over memory rate: from Pascal's 13 to the RTX 5000 Ada's 454 operations a byte.
      if (bandwidth !== undefined && fp16 !== undefined) {
        expect(fp16 / bandwidth, gpu.name).toBeGreaterThan(10);
        expect(fp16 / bandwidth, gpu.name).toBeLessThan(500);
      }
    }
  });

  it("derives matrix rates that match the data sheets checked one by one", () => {
    const tera = (name: string) => {
      const { gpu } = findGpu(name)!;
      return [gpu.fp16FlopsPerSecond! / 1e12, gpu.int8OpsPerSecond! / 1e12].map(Math.round);
    };
    expect(tera("rtx 3090")).toEqual([71, 285]);
    expect(tera("rtx 4090")).toEqual([165, 661]);
    expect(tera("rtx a6000")).toEqual([155, 310]);
    expect(tera("a100 80gb")).toEqual([312, 624]);
    expect(tera("l4")).toEqual([121, 242]);
    expect(tera("l40s")).toEqual([366, 733]);
    expect(tera("h100 pcie")).toEqual([756, 1513]);
  });

  it("does not repeat the tables' known mistakes", () => {
    const bandwidth = (name: string) => findGpu(name)!.gpu.bandwidthBytesPerSecond! / 1e9;
    expect(bandwidth("h100 pcie")).toBe(2039);
    expect(bandwidth("h100")).toBe(3350);
    expect(bandwidth("rtx 5060")).toBe(448);
    expect(bandwidth("rtx 5000 ada")).toBe(576);
    expect(bandwidth("rx 9070")).toBe(640);
    expect(findGpu("rtx 5090")!.gpu.computeCapability).toBe(12);
  });
});

describe("finding a card by name", () => {
  it.each([
    ["3060", "RTX 3060"],
    ["RTX3060", "RTX 3060"],
    ["NVIDIA GeForce RTX 3060 Laptop GPU", "RTX 3060 Laptop"],
    ["3060 laptop", "RTX 3060 Laptop"],
    ["laptop 3060", "RTX 3060 Laptop"],
    ["3060m", "RTX 3060 Laptop"],
    ["rtx 3060笔记本", "RTX 3060 Laptop"],
    ["4060ti", "RTX 4060 Ti"],
    ["4070 ti s", "RTX 4070 Ti SUPER"],
    ["4070s", "RTX 4070 SUPER"],
    ["1660s", "GTX 1660 SUPER"],
    ["gtx1080ti", "GTX 1080 Ti"],
    ["7900xtx", "RX 7900 XTX"],
    ["AMD Radeon RX 7900 XT", "RX 7900 XT"],
    ["rx580", "RX 580"],
    ["vega 64", "RX Vega 64"],
    ["a770", "Arc A770"],
    ["Intel(R) Arc(TM) B580 Graphics", "Arc B580"],
    ["m4 pro", "Apple M4 Pro"],
    ["Apple M2 Ultra", "Apple M2 Ultra"],
    ["macbook pro m3 max", "Apple M3 Max"],
    ["strix halo", "Ryzen AI Max+ 395"],
    ["AMD Custom GPU 0405 (RADV VANGOGH)", "Steam Deck"],
    ["AMD Custom GPU 0932 (RADV VANGOGH)", "Steam Deck OLED"],
    ["steam deck oled", "Steam Deck OLED"],
    ["AMD Ryzen AI Max+ 395", "Ryzen AI Max+ 395"],
    ["dgx spark", "DGX Spark"],
    ["p40", "Tesla P40"],
    ["tesla t4", "Tesla T4"],
    ["v100s", "Tesla V100S"],
    ["l40s", "L40S"],
    ["l40", "L40"],
    ["h100 pcie", "H100 PCIe"],
    ["NVIDIA A100-SXM4-80GB", "A100 SXM 80GB"],
    ["NVIDIA H100 80GB HBM3", "H100 SXM"],
    ["Tesla V100-SXM2-32GB", "Tesla V100"],
    ["AMD Radeon RX 6900 XT (RADV NAVI21)", "RX 6900 XT"],
    ["rtx a6000", "RTX A6000"],
    ["rtx 6000 ada generation", "RTX 6000 Ada"],
    ["rtx pro 6000 blackwell workstation edition", "RTX PRO 6000"],
    ["mi300x", "Instinct MI300X"],
    ["r9700", "Radeon AI PRO R9700"],
    ["w7900", "Radeon PRO W7900"],
    ["orin nano super", "Jetson Orin Nano Super"],
  ])("%s is the %s", (typed, name) => {
    expect(findGpu(typed)?.gpu.name).toBe(name);
  });

  it("knows every one of its own names", () => {
    for (const gpu of GPUS) expect(findGpu(gpu.name)?.gpu.name, gpu.name).toBe(gpu.name);
  });

  it("says which other cards the same words may mean", () => {
    expect(findGpu("3060")!.also.map((gpu) => gpu.name)).toEqual(["RTX 3060 8GB", "RTX 3060 Laptop"]);
  });

  it.each(["", "banana", "rtx", "12", "3060 3070", "x".repeat(5000)])("%s names no card", (typed) => {
    expect(findGpu(typed)).toBeUndefined();
  });

  it("suggests the nearest names for a typing error", () => {
    expect(suggestGpus("rtx 4096", 3).map((gpu) => gpu.name)).toContain("RTX 4090");
    expect(suggestGpus("7900xtz", 2)[0]?.name).toBe("RX 7900 XTX");
    expect(suggestGpus("", 3)).toEqual([]);
  });
});

describe("reading a machine", () => {
  const shape = (text: string) => {
    const hardware = parseHardwareName(text);
    if (!hardware) return undefined;
    const gpus = hardware.gpus.map((gpu) => `${gpu.name ?? "?"}:${Math.round(gpu.vramBytesTotal / MIB)}`);
    const ram = hardware.ramBytesTotal === undefined ? "" : ` ram:${Math.round(hardware.ramBytesTotal / GIB)}`;
    return `${gpus.join(" ")}${ram} ${hardware.backend}`.trim();
  };

  it.each([
    ["3060 laptop", "RTX 3060 Laptop:6144 cuda"],
    ["rtx 4060ti 16g", "RTX 4060 Ti:16380 cuda"],
    ["4060 ti", "RTX 4060 Ti:8188 cuda"],
    ["3060 6gb", "RTX 3060 Laptop:6144 cuda"],
    ["3080 12g", "RTX 3080 12GB:12288 cuda"],
    ["2x3090", "RTX 3090:24576 RTX 3090:24576 cuda"],
    ["3090 x2", "RTX 3090:24576 RTX 3090:24576 cuda"],
    ["3090x2", "RTX 3090:24576 RTX 3090:24576 cuda"],
    ["dual 3090", "RTX 3090:24576 RTX 3090:24576 cuda"],
    ["双3090", "RTX 3090:24576 RTX 3090:24576 cuda"],
    ["两张 3090", "RTX 3090:24576 RTX 3090:24576 cuda"],
    ["3090 + 4090", "RTX 3090:24576 RTX 4090:24564 cuda"],
    ["3090 and 4090", "RTX 3090:24576 RTX 4090:24564 cuda"],
    ["4090 + 7900xtx", "RTX 4090:24564 RX 7900 XTX:24560 vulkan"],
    ["m4 pro 48gb", "Apple M4 Pro:49152 ram:48 metal"],
    ["m1 16gb", "Apple M1:16384 ram:16 metal"],
    ["m2 ultra 192gb", "Apple M2 Ultra:196608 ram:192 metal"],
    ["7900xtx", "RX 7900 XTX:24560 vulkan"],
    ["a770", "Arc A770:16288 vulkan"],
    ["strix halo 128gb", "Ryzen AI Max+ 395:131072 ram:128 vulkan"],
    ["6gb", "?:6144 cuda"],
    ["12G显存", "?:12288 cuda"],
    ["１２ＧＢ", "?:12288 cuda"],
    ["6144 mb", "?:6144 cuda"],
    ["2x16gb", "?:16384 ?:16384 cuda"],
    ["2 x 16 gb gpus", "?:16384 ?:16384 cuda"],
    ["16gb + 8gb", "?:16384 ?:8192 cuda"],
    ["4090 + 64gb ram", "RTX 4090:24564 ram:64 cuda"],
    ["4090 64gb", "RTX 4090:24564 ram:64 cuda"],
    ["6gb vram 16gb ram", "?:6144 ram:16 cuda"],
    ["rtx 3060笔记本 16G内存", "RTX 3060 Laptop:6144 ram:16 cuda"],
    ["内存32G, 显存8G", "?:8192 ram:32 cuda"],
    ["cpu 32gb ram", "ram:32 cpu"],
    ["cpu", "cpu"],
    ["no gpu, 16gb ram", "ram:16 cpu"],
    ["无显卡 16G内存", "ram:16 cpu"],
    ["64gb ram", "ram:64 cpu"],
    ["2x tesla p40 + 128gb ddr4", "Tesla P40:24576 Tesla P40:24576 ram:128 cuda"],
    ["l4 24gb", "L4:23034 cuda"],
    ["8gb m2 macbook air", "Apple M2:8192 ram:8 metal"],
  ])("%s", (text, expected) => {
    expect(shape(text)).toBe(expected);
  });

  it("carries bandwidth, rates and generation for the speed model", () => {
    const { gpus, ramBandwidthBytesPerSecond } = parseHardwareName("3060 laptop + 32gb ddr5")!;
    expect(gpus[0]).toMatchObject({ generation: "ampere", laptop: true, bandwidthBytesPerSecond: 336e9 });
    expect(ramBandwidthBytesPerSecond).toBe(89.6e9);
    const mac = parseHardwareName("m4 max 64gb")!;
    expect(mac).toMatchObject({ unifiedMemory: true, ramBandwidthBytesPerSecond: 546e9, backend: "metal" });
  });

  it.each([
    "",
    "banana",
    "0gb",
    "-1 gb",
    "99x3090",
    "3090 + banana",
    "4090 cpu",
    "1e9 gb",
    "99999999gb",
    "qwen3 8b",
    "2x",
  ])("%s is not read as a machine", (text) => {
    expect(parseHardwareName(text)).toBeUndefined();
  });
});
