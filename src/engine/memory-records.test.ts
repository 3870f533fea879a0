import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { listLogger } from "../../test/support/local-engine.ts";
import { memoryRecordsMax } from "../core/limits.ts";
import { MIB } from "../core/units.ts";
import { learnedLoad, type MemoryRecord, MemoryRecords } from "./memory-records.ts";

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

test("the share of a driver is what was taken beside the buffers, per card", async () => {
  expect(learnedLoad(load({ vramBytesTaken: 5380 * MIB }))).toMatchObject({ runtimeBytes: 380 * MIB });
  expect(learnedLoad(load({ vramBytesTaken: 5480 * MIB, gpuCount: 2 }))).toMatchObject({ runtimeBytes: 240 * MIB });
  expect(learnedLoad(load()).runtimeBytes).toBeUndefined();
  expect(learnedLoad(load({ gpuCount: 0, vramBytesTaken: 0 })).runtimeBytes).toBeUndefined();
});

test("old loads are forgotten, and the file outlives the process", async () => {
  const records = await open();
  for (let index = 0; index < memoryRecordsMax + 5; index++) records.add(load({ at: index }));
  expect(records.all).toHaveLength(memoryRecordsMax);
  await records.settled();
  expect((await open()).all[0]).toMatchObject({ at: 5, device: "cuda RTX 3060" });
});

test("deleting the file makes a running process forget too", async () => {
  const records = await open();
  records.add(load({ at: 1 }));
  await records.settled();
  rmSync(path);
  records.add(load({ at: 2 }));
  expect(records.all).toMatchObject([{ at: 2 }]);
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
