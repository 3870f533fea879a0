import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { listLogger } from "../../test/support/local-engine.ts";
import { memoryRecordsMax } from "../core/limits.ts";
import { MIB } from "../core/units.ts";
import { type MemoryRecord, MemoryRecords } from "./memory-records.ts";

let folder: string;
let path: string;
const log: string[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "snug-records-"));
  path = join(folder, "engine-memory.json");
  log.length = 0;
});
afterEach(() => rmSync(folder, { recursive: true }));

const open = () => MemoryRecords.open(path, listLogger(log));

function load(more: Partial<MemoryRecord> = {}): MemoryRecord {
  return {
    at: 1,
    device: "cuda RTX 3060",
    model: "m",
    contextLength: 8192,
    sequenceCount: 1,
    batchSize: 512,
    gpuLayers: 33,
    kvCacheTypeK: "F16",
    kvCacheTypeV: "F16",
    predicted: { hostBytes: 0, gpuBytes: 5000 * MIB },
    measured: { hostBytes: 0, gpuBytes: 5000 * MIB },
    runtimeBytesPredicted: 280 * MIB,
    gpuCount: 1,
    ...more,
  };
}

test("what loads took beyond their forecast is kept off the next one on the same device alone", async () => {
  const records = await open();
  for (const taken of [5380, 5390, 9000, 5400, 5370]) records.add(load({ vramBytesTaken: taken * MIB }));
  // The median of 100, 110, 3720, 120 and 90 MiB.
  expect(records.correctionBytes("cuda RTX 3060")).toBe(110 * MIB);
  expect(records.correctionBytes("cuda RTX 4090")).toBe(0);
  await records.settled();
  expect((await open()).correctionBytes("cuda RTX 3060")).toBe(110 * MIB);
});

test("a forecast that was too high takes nothing off the reserve", async () => {
  const records = await open();
  records.add(load({ vramBytesTaken: 5100 * MIB }));
  expect(records.correctionBytes("cuda RTX 3060")).toBe(0);
  await records.settled();
});

test("several cards share what was taken, and old loads are forgotten", async () => {
  const records = await open();
  for (let index = 0; index < 5; index++) records.add(load({ vramBytesTaken: 9000 * MIB }));
  for (let index = 0; index < 5; index++) records.add(load({ vramBytesTaken: 5480 * MIB, gpuCount: 2 }));
  expect(records.correctionBytes("cuda RTX 3060")).toBe(100 * MIB);
  for (let index = 0; index < memoryRecordsMax + 5; index++) records.add(load());
  expect(records.all).toHaveLength(memoryRecordsMax);
  await records.settled();
});

test("a damaged file is begun anew with a warning", async () => {
  writeFileSync(path, '{"version":1,"records":[{"at":"yesterday"}]}');
  const records = await open();
  expect(records.all).toEqual([]);
  expect(log[0]).toMatch(/^warn .*begun anew/);
  records.add(load());
  await records.settled();
  expect(JSON.parse(readFileSync(path, "utf8")).records).toHaveLength(1);
});

test("a disk that cannot be written costs a warning and nothing else", async () => {
  writeFileSync(join(folder, "file"), "");
  const records = await MemoryRecords.open(join(folder, "file", "memory.json"), listLogger(log));
  records.add(load());
  await records.settled();
  expect(log.at(-1)).toMatch(/^warn .*could not be written/);
  expect(records.all).toHaveLength(1);
});
