/** What must add up in every plan. */
import { expect } from "vitest";
import type { FitPlan } from "../../src/fit/types.ts";

export function expectPartsOfTotal(device: FitPlan["devices"][number]): void {
  const parts =
    device.weightBytes +
    device.kvCacheBytes +
    device.recurrentStateBytes +
    device.computeBufferBytes +
    device.outputBufferBytes +
    device.runtimeBytes;
  expect(Math.abs(parts - device.totalBytes)).toBeLessThan(1);
}
