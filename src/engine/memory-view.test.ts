import { expect, it, vi } from "vitest";
import { prepareRegistry } from "../../test/support/registry.ts";
import { memoryViewMsMax } from "../core/limits.ts";
import type { HardwareReading } from "../core/ports.ts";
import { GIB } from "../core/units.ts";
import { createMemoryView } from "./memory-view.ts";

const hardware: HardwareReading = {
  cpu: { name: "CPU", coresPhysical: 2, coresUsable: 2 },
  ramBytesTotal: 16 * GIB,
  ramBytesFree: 10 * GIB,
  gpus: [
    { name: "first", vramBytesTotal: 12 * GIB, vramBytesFree: 11 * GIB },
    { name: "second", vramBytesTotal: 8 * GIB },
  ],
  backend: "cuda",
};

const readRamFree = () => 9 * GIB;

it("GPUs come before main memory, and what nobody told of them is left out", () => {
  const view = createMemoryView({
    hardware,
    readVramFree: async () => undefined,
    readRamFree,
    clock: { now: () => 0 },
  });
  expect(view([])).toEqual([
    { name: "first", kind: "gpu", bytesTotal: 12 * GIB, bytesUsed: GIB, bytesOwn: 0 },
    { name: "second", kind: "gpu", bytesTotal: 8 * GIB, bytesOwn: 0 },
    { name: "RAM", kind: "host", bytesTotal: 16 * GIB, bytesUsed: 7 * GIB, bytesOwn: 0 },
  ]);
});

it("free memory is read again for those who look, not more often than it may, and a failure keeps the last figure", async () => {
  let now = 0;
  const readVramFree = vi.fn(async (): Promise<number[] | undefined> => [2 * GIB, 3 * GIB]);
  const view = createMemoryView({ hardware, readVramFree, readRamFree, clock: { now: () => now } });
  const used = () => view([]).map(({ bytesUsed }) => bytesUsed);
  used();
  expect(readVramFree).not.toHaveBeenCalled();
  now += memoryViewMsMax;
  expect(used()).toEqual([GIB, undefined, 7 * GIB]);
  used();
  expect(readVramFree).toHaveBeenCalledTimes(1);
  await expect.poll(used).toEqual([10 * GIB, 5 * GIB, 7 * GIB]);
  readVramFree.mockRejectedValueOnce(new Error("the driver hangs"));
  now += memoryViewMsMax;
  used();
  await expect.poll(() => readVramFree.mock.results.length).toBe(2);
  expect(used()).toEqual([10 * GIB, 5 * GIB, 7 * GIB]);
});

it("a loaded model's memory is its own part of what is used, and gone when it is sent out", async () => {
  const machine = { ...hardware, gpus: [] };
  const memoryView = createMemoryView({
    hardware: machine,
    readVramFree: async () => undefined,
    readRamFree,
    clock: { now: () => 0 },
  });
  const { registry, close } = await prepareRegistry(
    { tiny: { architecture: "llama", shape: "tiny", type: "F16" } },
    { memoryView },
  );
  const own = async () => (await registry.health()).devices?.map(({ kind, bytesOwn }) => [kind, bytesOwn]);
  await registry.load("tiny");
  await expect.poll(own).toEqual([["host", expect.any(Number)]]);
  await expect.poll(async () => (await own())?.[0]?.[1]).toBeGreaterThan(1_000_000);
  await registry.unload("tiny");
  expect(await own()).toEqual([["host", 0]]);
  await close();
});
