import { describe, expect, test } from "vitest";
import { GIB, MIB } from "../core/units.ts";
import type { DeviceBreakdown } from "../fit/types.ts";
import { checkGpus, gpuSurprises, mostRuntimeBytes } from "./gpu-check.ts";

function device(id: string, weightGib: number): DeviceBreakdown {
  const parts = weightGib === 0 ? 0 : 1;
  const [weightBytes, kvCacheBytes] = [weightGib * GIB, parts * 512 * MIB];
  const [computeBufferBytes, runtimeBytes] = [parts * 256 * MIB, parts * 280 * MIB];
  return {
    id,
    kind: id === "host" ? "host" : "gpu",
    name: `card ${id}`,
    layers: weightGib * 4,
    weightBytes,
    kvCacheBytes,
    recurrentStateBytes: 0,
    computeBufferBytes,
    outputBufferBytes: 0,
    runtimeBytes,
    totalBytes: weightBytes + kvCacheBytes + computeBufferBytes + runtimeBytes,
    freeBytesBefore: 15 * GIB,
    freeBytesAfter: 0,
  };
}

const plan = { devices: [device("gpu0", 6), device("gpu1", 0), device("gpu2", 3), device("host", 1)] };
const before = [15 * GIB, 2 * GIB, 15 * GIB];
const buffers = (gib: number) => gib * GIB + 768 * MIB;
const taken = (gib: number) => buffers(gib) + 280 * MIB;
const freeAfter = (first: number, second: number) => [before[0]! - first, 1 * GIB, before[2]! - second];

describe("a load over several GPUs", () => {
  test("is looked at card by card, without those that got no layers", () => {
    const gpus = checkGpus(plan, { before, after: freeAfter(taken(6), taken(3)), measured: [buffers(6), buffers(3)] });
    expect(gpus.map(({ gpu, name, layers }) => [gpu, name, layers])).toEqual([
      [0, "card gpu0", 24],
      [2, "card gpu2", 12],
    ]);
    expect(gpus[1]).toMatchObject({
      bufferBytes: buffers(3),
      measuredBytes: buffers(3),
      takenBytes: taken(3),
    });
    expect(gpuSurprises(gpus)).toEqual([]);
    expect(mostRuntimeBytes(gpus)).toBe(280 * MIB);
  });

  test("that was parted otherwise is told of, by llama-server's buffers or by the driver's word", () => {
    const measured = checkGpus(plan, { before, after: undefined, measured: [buffers(5), buffers(4)] });
    expect(gpuSurprises(measured)).toEqual([
      "GPU 0 (card gpu0) holds 5.75 GiB; 24 layers with 6.75 GiB were planned for it.",
      "GPU 2 (card gpu2) holds 4.75 GiB; 12 layers with 3.75 GiB were planned for it.",
    ]);
    const seen = checkGpus(plan, { before, after: freeAfter(taken(5), taken(4)), measured: undefined });
    expect(gpuSurprises(seen)).toHaveLength(2);
    // The card that was given more than planned leaves less for the driver next time.
    expect(mostRuntimeBytes(seen)).toBe(1 * GIB + 280 * MIB);
  });

  test("is not judged by what nobody tells, or by another program's few megabytes", () => {
    const silent = checkGpus(plan, {
      before: [undefined, undefined, undefined],
      after: undefined,
      measured: undefined,
    });
    expect(gpuSurprises(silent)).toEqual([]);
    expect(mostRuntimeBytes(silent)).toBeUndefined();
    const moved = checkGpus(plan, { before, after: freeAfter(taken(6) + 300 * MIB, taken(3)), measured: undefined });
    expect(gpuSurprises(moved)).toEqual([]);
  });
});
