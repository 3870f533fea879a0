import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { GpuCondition } from "../core/gpu-condition.ts";
import { MIB } from "../core/units.ts";
import { parseNvidiaXml } from "./gpu-condition.ts";
import { createMachineDesk } from "./machine-desk.ts";
import { Monitor } from "./monitor.ts";
import { EngineWarnings } from "./warnings.ts";

const text = readFileSync(new URL("../../test/fixtures/gpu/nvidia-smi-rtx-3080.xml", import.meta.url), "utf8");
const cool = parseNvidiaXml(text);
const hot = parseNvidiaXml(text.replace(/(_sw_thermal_slowdown>)Not Active/, "$1Active"));

function monitoring(readings: () => GpuCondition[], samplesMax = 1440) {
  let now = 0;
  const clock = { now: () => now };
  const warnings = new EngineWarnings(clock.now);
  const monitor = new Monitor({ read: async () => readings(), warnings, clock, samplesMax });
  const look = async (times: number) => {
    for (let time = 0; time < times; time++) {
      now += 60_000;
      await monitor.look();
    }
  };
  return { monitor, warnings, look };
}

describe("a monitor", () => {
  it("keeps memory, use, heat and power in columns, and no more looks than its bound", async () => {
    const { monitor, look } = monitoring(() => cool, 3);
    await look(5);
    expect(monitor.report()).toEqual({
      everyMs: 60_000,
      gpus: [
        {
          gpu: 0,
          name: "NVIDIA GeForce RTX 3080",
          vramBytesTotal: 10240 * MIB,
          at: [180_000, 240_000, 300_000],
          vramBytesUsed: [1302 * MIB, 1302 * MIB, 1302 * MIB],
          utilization: [0, 0, 0],
          temperatureCelsius: [31, 31, 31],
          powerWatts: [22.78, 22.78, 22.78],
          throttle: [],
        },
      ],
      warnings: [],
    });
  });

  it("writes null where a look told nothing, and survives a driver that fails", async () => {
    const readings: (() => GpuCondition[])[] = [
      () => cool,
      () => {
        throw new Error("the driver was being updated");
      },
      () => [{ name: "NVIDIA GeForce RTX 3080", vendor: "nvidia" }],
    ];
    const { monitor, look } = monitoring(() => readings.shift()!());
    await look(3);
    expect(monitor.report().gpus).toMatchObject([{ at: [60_000, 180_000], powerWatts: [22.78, null] }]);
  });

  it("does not ask a second time while a driver has not answered", async () => {
    let asked = 0;
    let answer = (_: GpuCondition[]) => {};
    const clock = { now: () => 1 };
    const read = () => {
      asked++;
      return new Promise<GpuCondition[]>((resolve) => {
        answer = resolve;
      });
    };
    const monitor = new Monitor({ read, warnings: new EngineWarnings(clock.now), clock });
    const both = [monitor.look(), monitor.look()];
    answer(cool);
    await Promise.all(both);
    expect(asked).toBe(1);
  });
});

describe("warnings", () => {
  it("of heat come when a card slowed down more than once, and go when it has been cool for a while", async () => {
    let card = cool;
    const { warnings, look } = monitoring(() => card);
    await look(2);
    card = hot;
    await look(2);
    expect(warnings.current).toEqual([]);
    await look(1);
    expect(warnings.current).toMatchObject([{ id: "thermal:0", kind: "thermal_throttle", since: 180_000 }]);
    expect(warnings.current[0]!.text.zh).toContain("过热");
    card = cool;
    await look(29);
    expect(warnings.current).toHaveLength(1);
    await look(1);
    expect(warnings.current).toEqual([]);
  });

  it("of a spill come after three slow answers in a row, and go with the first one that is not", () => {
    const warnings = new EngineWarnings(() => 7);
    const answer = (decodeTokensPerSecond: number) =>
      warnings.noteAnswer({ model: "gemma", decodeTokensPerSecond, expectedLow: 22 });
    answer(4.6);
    answer(4.5);
    answer(18);
    answer(4.6);
    answer(4.4);
    expect(warnings.current).toEqual([]);
    answer(4.6);
    expect(warnings.current).toMatchObject([{ id: "spill:gemma", kind: "spill_suspected", since: 7 }]);
    expect(warnings.current[0]!.text.en).toMatch(/4\.6 tokens\/s where at least 22 are usual/);
    answer(15);
    expect(warnings.current).toEqual([]);
  });
});

describe("the desk of a machine", () => {
  it("tells everybody who asks at once from one reading, each in their language", async () => {
    const { monitor } = monitoring(() => cool);
    let read = 0;
    const desk = createMachineDesk({
      monitor,
      readFacts: async () => {
        read++;
        return {
          nodeVersion: "v18.0.0",
          hardware: {
            cpu: { name: "CPU", coresPhysical: 2, coresUsable: 2 },
            ramBytesTotal: 2 ** 34,
            ramBytesFree: 2 ** 33,
            gpus: [],
            backend: "cuda" as const,
          },
          gpus: cool,
          disk: { path: ".", bytesFree: 2 ** 40 },
        };
      },
    });
    const [en, zh] = await Promise.all([desk.doctor("en"), desk.doctor("zh")]);
    expect(read).toBe(1);
    expect(en).toMatchObject({ verdict: "problem" });
    expect(en!.findings.map(({ check }) => check)).toEqual(zh!.findings.map(({ check }) => check));
    expect(zh!.findings[0]!.remedy).toContain("请安装");
  });
});
