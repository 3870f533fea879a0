import { describe, expect, it } from "vitest";
import {
  formatBytes,
  formatDuration,
  formatParameterCount,
  formatTokens,
  GIB,
  MIB,
  parseBytes,
  roundUp,
} from "./units.ts";

describe("units", () => {
  it.each([
    [0, "0 B"],
    [2048, "2 KiB"],
    [812 * MIB, "812 MiB"],
    [5.87 * GIB, "5.87 GiB"],
    [24 * GIB, "24 GiB"],
    [23.456 * GIB, "23.5 GiB"],
    [-1.5 * GIB, "-1.5 GiB"],
    [Number.NaN, "?"],
  ])("shows %d bytes as %s", (bytes, text) => expect(formatBytes(bytes)).toBe(text));

  it.each([
    [8.03e9, "8.03B"],
    [70e9, "70B"],
    [135e6, "135M"],
    [1.04e12, "1.04T"],
  ])("shows %d parameters as %s", (count, text) => expect(formatParameterCount(count)).toBe(text));

  it.each([
    [16_384, "16k"],
    [10_000, "10000"],
    [1_048_576, "1M"],
    [10_485_760, "10M"],
    [512, "512"],
  ])("shows %d tokens as %s", (count, text) => expect(formatTokens(count)).toBe(text));

  it.each([
    [83, "83 ms"],
    [1400, "1.4 s"],
    [125_000, "2 min 5 s"],
    [120_000, "2 min"],
  ])("shows %d ms as %s", (ms, text) => expect(formatDuration(ms)).toBe(text));

  it.each([
    ["6GiB", 6 * GIB],
    ["6 gb", 6 * GIB],
    ["1.5g", 1.5 * GIB],
    ["500M", 500 * MIB],
    ["500", 500 * MIB],
    ["500b", 500],
    ["0", 0],
    ["", undefined],
    ["-1", undefined],
    ["six", undefined],
  ])("reads %j as an amount of memory", (text, bytes) => expect(parseBytes(text, MIB)).toBe(bytes));

  it("rounds up to the next step and leaves whole steps alone", () => {
    expect(roundUp(257, 256)).toBe(512);
    expect(roundUp(256, 256)).toBe(256);
  });
});
