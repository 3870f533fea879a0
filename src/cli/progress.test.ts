import { describe, expect, it } from "vitest";
import { createProgressBar } from "./progress.ts";

function record(isTTY: boolean) {
  const lines: string[] = [];
  const clock = { ms: 0 };
  const draw = createProgressBar("model", { isTTY, write: (text) => lines.push(text) }, () => clock.ms);
  return { lines, clock, draw };
}

describe("createProgressBar", () => {
  it("redraws one line on a terminal, at most ten times a second, and always the end", () => {
    const { lines, clock, draw } = record(true);
    for (let step = 1; step <= 100; step++) {
      clock.ms += 10;
      draw({ bytesDone: step * 1e6, bytesTotal: 100e6 });
    }
    expect(lines.length).toBeLessThanOrEqual(12);
    expect(lines.at(-1)).toMatch(/█{24} 100 %.*\n$/);
  });

  it("prints a line per tenth into a pipe, without control codes", () => {
    const { lines, draw } = record(false);
    for (let step = 0; step <= 1000; step++) draw({ bytesDone: step, bytesTotal: 1000 });
    expect(lines).toHaveLength(11);
    expect(lines.join("")).not.toContain("\x1b");
  });

  it("measures the rate from where a resumed transfer began", () => {
    const { lines, clock, draw } = record(true);
    draw({ bytesDone: 90 * 1024 ** 2, bytesTotal: 100 * 1024 ** 2 });
    clock.ms = 1000;
    draw({ bytesDone: 95 * 1024 ** 2, bytesTotal: 100 * 1024 ** 2 });
    expect(lines.at(-1)).toContain("5 MiB/s");
  });

  it("shows bytes alone when the size is unknown", () => {
    const { lines, draw } = record(true);
    draw({ bytesDone: 5 * 1024 ** 2, bytesTotal: undefined });
    expect(lines[0]).toContain("model  5 MiB");
  });
});
