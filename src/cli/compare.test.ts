import { Command } from "commander";
import { describe, expect, it } from "vitest";
import { sampleReport } from "../../test/support/compare-port.ts";
import type { BenchProfile } from "../fit/bench-profile.ts";
import { addCompareCommands, type CompareActions, renderBench, renderComparison } from "./compare.ts";
import { createStepBar } from "./progress.ts";

const paint = (_: string, text: string) => text;

async function parse(...args: string[]) {
  const calls: unknown[] = [];
  const errors: string[] = [];
  const actions: CompareActions = {
    compare: async (...call) => calls.push(["compare", ...call]),
    bench: async (...call) => calls.push(["bench", ...call]),
  };
  const program = new Command("snug").exitOverride().configureOutput({ writeErr: (text) => errors.push(text) });
  addCompareCommands(program, actions, "en", () => {});
  for (const command of program.commands)
    command.exitOverride().configureOutput({ writeErr: (text) => errors.push(text) });
  await program.parseAsync(args, { from: "user" }).catch(() => {});
  return { calls, errors: errors.join("") };
}

describe("the commands", () => {
  it("read lists, and take the demo model when none is named", async () => {
    const { calls } = await parse(
      "compare",
      "-q",
      "f16, q8_0,",
      "--contexts",
      "64,512",
      "--prompt",
      "A?",
      "--prompt",
      "B?",
    );
    expect(calls).toEqual([
      ["compare", "demo", { quantizations: ["f16", "q8_0"], contexts: [64, 512], prompt: ["A?", "B?"], quality: true }],
    ]);
    const { calls: plain } = await parse("compare", "tiny", "--no-quality");
    expect(plain).toEqual([["compare", "tiny", { quality: false }]]);
    const { calls: bench } = await parse("bench", "tiny", "--parallel", "1,4", "-n", "32");
    expect(bench).toEqual([["bench", "tiny", { parallel: [1, 4], tokens: 32 }]]);
  });

  it.each([
    ["compare", "--contexts", "many"],
    ["compare", "--contexts", "-5"],
    ["compare", "-n", "1,2"],
    ["bench", "--parallel", "1e9"],
  ])("refuse %s %s %s", async (...args) => {
    const { calls, errors } = await parse(...args);
    expect(calls).toEqual([]);
    expect(errors).toContain("whole numbers with commas between");
  });
});

describe("what is printed", () => {
  it("is the verdict, the tables and the answers, whose control characters drive nothing", () => {
    const [variant] = sampleReport.variants;
    const answer = {
      prompt: 0,
      text: "Red\u001b[31m\u0007 and\nmore",
      finishReason: "stop",
      promptTokens: 1,
      completionTokens: 3,
      timeToFirstTokenMs: 5,
    };
    const report = { ...sampleReport, prompts: ["Colour?"], variants: [{ ...variant!, answers: [answer] }] };
    const text = renderComparison(report, { locale: "en", paint });
    expect(text).toContain("Only F16 could be measured: 42.0 tokens/s.");
    expect(text).toContain("Red [31m and more");
    expect(text).not.toContain("\u001b");
    expect(renderComparison(report, { locale: "zh", paint })).toContain("用时 1 ms");
  });

  it("is a bench with the prediction's error, and none where nothing was predicted", () => {
    const profile = {
      rows: [
        {
          contextTokens: 128,
          sequenceCount: 1,
          prefillTokensPerSecond: 1000,
          decodeTokensPerSecond: 50,
          predicted: { prefillTokensPerSecond: 900, decodeTokensPerSecond: 40 },
        },
        { contextTokens: 128, sequenceCount: 4, prefillTokensPerSecond: 1000, decodeTokensPerSecond: 120 },
      ],
      load: { ms: 1500, threads: 1, predicted: { hostBytes: 2 ** 20, gpuBytes: 0 } },
    } as unknown as BenchProfile;
    const [head, one, four] = renderBench(profile, { locale: "en", paint }).split("\n");
    expect(head).toMatch(/^context +at once/);
    expect(one).toMatch(/128 +1 +1000 +50\.0 +50\.0 +40\.0 +-20 %$/);
    expect(four).toMatch(/128 +4 +1000 +120 +30\.0 +– +–$/);
  });
});

describe("the step bar", () => {
  it("redraws one line on a terminal and writes each step once elsewhere", () => {
    const lines: string[] = [];
    const output = { isTTY: false, write: (text: string) => lines.push(text) };
    const show = createStepBar(output);
    show("loading", 0.1);
    show("loading", 0.2);
    show("measuring", 1.5);
    show(undefined, 1);
    expect(lines).toEqual(["loading\n", "measuring\n"]);
    lines.length = 0;
    const redraw = createStepBar({ ...output, isTTY: true });
    redraw("loading", 0.5);
    redraw(undefined, 1);
    expect(lines).toEqual([`\r\x1b[K${"█".repeat(12)}${"░".repeat(12)} 50 %  loading`, "\r\x1b[K"]);
  });
});
