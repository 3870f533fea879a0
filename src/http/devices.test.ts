import { expect, it } from "vitest";
import { parseDevices } from "./devices.ts";

it("memory told by an engine is taken as far as it is memory", () => {
  const gpu = { name: "NVIDIA", kind: "gpu", bytesTotal: 10, bytesUsed: 4, bytesOwn: 3 };
  expect(parseDevices([gpu, { kind: "host", bytesTotal: 5 }])).toEqual([
    gpu,
    { name: "host", kind: "host", bytesTotal: 5 },
  ]);
  expect(parseDevices([{ ...gpu, bytesUsed: -1, bytesOwn: "3" }])).toEqual([
    { name: "NVIDIA", kind: "gpu", bytesTotal: 10 },
  ]);
  expect(parseDevices([null, 7, {}, { ...gpu, kind: "tpu" }, { ...gpu, bytesTotal: 0 }])).toEqual([]);
  expect(parseDevices(Array.from({ length: 1000 }, () => ({ ...gpu, name: "x".repeat(5000) })))).toHaveLength(64);
  expect(parseDevices("no")).toBeUndefined();
});
