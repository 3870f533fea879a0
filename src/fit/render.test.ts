import { describe, expect, it } from "vitest";
import type { Locale } from "../core/errors.ts";
import { answerQuery, type FitsAnswer } from "./answer.ts";
import { parseQuery } from "./query.ts";
import {
  barCells,
  blocksToMarkdown,
  discordCharsMax,
  escapeMarkdown,
  renderBlocks,
  renderMarkdown,
  slackCharsMax,
} from "./render.ts";
import { translateAssumption } from "./render-assumptions.ts";
import { displayWidth, renderTerminal, wrapText } from "./render-terminal.ts";

const LOCALES: readonly Locale[] = ["en", "zh"];

/** Every kind of question, with the longest answers among them. */
const TEXTS = [
  "13b 6gb",
  "6gb",
  "70b",
  "32b 2x16gb",
  "32b fp16 2x16gb",
  "qwen3-30b-a3b 8gb + 32gb ram",
  "10b nf4 8gb",
  "3060笔记本能跑什么",
  "what is nf4",
  "gptq vs awq",
  "7b 16gb ram",
  "int8 10b 16g",
  "llama 3.1 70b on 4090 + 64gb ram",
  "gpt-oss-20b m4 pro 48gb",
  "qwen 8gb",
  "foobar 13b 8gb",
  "8b 24gb 8 users ctx 32k kv q8_0",
  "deepseek v3 512gb ram",
  "405b 4gb",
  "70b awq 4x24gb",
  "8gb code",
  "8b 4x3090 + 3060 + 7900 xtx 128gb ram",
  "qwen2.5-72b 2x3090 ctx 32k 4 users speed>20 lol what ever",
];
const ANSWERS: readonly (readonly [string, FitsAnswer])[] = TEXTS.map((text) => [text, answerQuery(parseQuery(text))]);

describe("chat", () => {
  it.each(ANSWERS)("%s fits Discord and Slack, verdict first, reason second", (_, answer) => {
    for (const locale of LOCALES) {
      for (const charsMax of [discordCharsMax, slackCharsMax]) {
        const text = blocksToMarkdown(renderBlocks(answer, { locale, charsMax }));
        expect(text.length).toBeLessThanOrEqual(charsMax);
        const [first, second] = text.split("\n");
        expect(first).toBe(`**${escapeMarkdown(answer.verdict.line[locale])}**`);
        expect(second).toBe(escapeMarkdown(answer.verdict.reason[locale]));
        expect(text).not.toMatch(/undefined|NaN|Infinity/);
      }
    }
  });

  it("a short limit drops settings and the least wanted sections, never verdict and reason", () => {
    const [, answer] = ANSWERS[0]!;
    for (let charsMax = 1000; charsMax >= 400; charsMax -= 20) {
      const blocks = renderBlocks(answer, { locale: "en", charsMax });
      expect(blocksToMarkdown(blocks).length).toBeLessThanOrEqual(charsMax);
      expect(blocks[0]).toEqual({ kind: "verdict", text: answer.verdict.line.en });
      expect(blocks[1]).toMatchObject({ kind: "text", text: answer.verdict.reason.en });
    }
  });

  it("even a verdict longer than the limit is cut rather than sent", () => {
    const [, answer] = ANSWERS[0]!;
    const long = { ...answer, verdict: { ...answer.verdict, line: { en: "x".repeat(5000), zh: "长".repeat(5000) } } };
    for (const locale of LOCALES)
      expect(blocksToMarkdown(renderBlocks(long, { locale, charsMax: 2000 })).length).toBeLessThanOrEqual(2000);
  });

  it("settings come last and as a block of their own, so that a platform can fold them", () => {
    const [, answer] = ANSWERS[0]!;
    const blocks = renderBlocks(answer, { locale: "en", charsMax: 2000 });
    expect(blocks.at(-1)?.kind).toBe("settings");
    expect(
      renderBlocks(answer, { locale: "en", charsMax: 2000, withoutSettings: true }).some(
        ({ kind }) => kind === "settings",
      ),
    ).toBe(false);
  });

  it("nothing typed in a question pings or formats", () => {
    const answer = answerQuery(parseQuery("@everyone_**x**~~y~~`z` 13b 8gb"));
    const text = blocksToMarkdown(renderBlocks(answer, { locale: "en", charsMax: 2000 }));
    expect(text).not.toMatch(/@everyone/);
    expect(text).not.toContain("**x**");
    expect(escapeMarkdown("<@123> @here [a](b) `c`")).toBe("\\<@\u200b123\\> @\u200bhere \\[a\\](b) \\`c\\`");
  });
});

describe("bars", () => {
  it.each(ANSWERS)("%s: cells fill the width exactly, and each visible part has one", (_, answer) => {
    for (const bar of answer.memory) {
      for (const width of [10, 28, 48]) {
        const cells = barCells(bar, width);
        expect(cells.reduce((sum, { count }) => sum + count, 0)).toBe(width);
        expect(cells.every(({ count }) => count > 0)).toBe(true);
      }
      const sum = bar.parts.reduce((total, { bytes }) => total + bytes, 0);
      expect(sum / bar.totalBytes).toBeCloseTo(1, 6);
    }
  });

  it("what is too much stands beyond the card's end", () => {
    const { memory } = answerQuery(parseQuery("70b fp16 2x16gb 16gb ram"));
    const cells = barCells(memory[0]!, 40);
    expect(cells.at(-1)).toEqual({
      kind: "over",
      count: Math.round(40 * (1 - memory[0]!.capacityBytes / memory[0]!.totalBytes)),
    });
  });
});

describe("terminal", () => {
  it.each(ANSWERS)("%s keeps to the width, but for settings to copy", (_, answer) => {
    for (const locale of LOCALES) {
      for (const columns of [60, 80, 100]) {
        const text = renderTerminal(answer, { locale, columns, colour: false });
        const settings = new Set(answer.launch.flatMap((recipe) => recipe.text.split("\n").map((line) => `  ${line}`)));
        for (const line of text.split("\n")) {
          // Closing marks may hang over by one full-width cell.
          if (!settings.has(line)) expect(displayWidth(line), line).toBeLessThanOrEqual(columns + 2);
        }
        expect(text.startsWith(wrapText(answer.verdict.line[locale], columns)[0]!)).toBe(true);
      }
    }
  });

  it("colour changes nothing but colour", () => {
    const [, answer] = ANSWERS[0]!;
    const plain = renderTerminal(answer, { locale: "en", columns: 80, colour: false });
    const coloured = renderTerminal(answer, { locale: "en", columns: 80, colour: true });
    expect(coloured).toContain("\u001b[");
    expect(coloured.replace(/\p{Cc}\[[\d;]*m/gu, "")).toBe(plain);
  });

  it("control characters in a question do not reach the terminal", () => {
    const [, answer] = ANSWERS[0]!;
    const hostile = { ...answer, notes: [{ en: "a\u001b]0;x\u0007b\u001b[2Jc", zh: "a" }] };
    const text = renderTerminal(hostile, { locale: "en", columns: 80, colour: false });
    expect([...text].some((char) => char.charCodeAt(0) < 32 && char !== "\n")).toBe(false);
  });

  it("all settings are shown when asked for", () => {
    const [, answer] = ANSWERS[0]!;
    const text = renderTerminal(answer, { locale: "en", columns: 100, colour: false, allSettings: true });
    for (const { title } of answer.launch) expect(text).toContain(title);
  });

  it("full-width characters count two cells, and lines break between them", () => {
    expect(displayWidth("显存 6G")).toBe(7);
    expect(wrapText("显存显存显存显存", 8)).toEqual(["显存显存", "显存显存"]);
    expect(wrapText("one two three", 8)).toEqual(["one two", "three"]);
    expect(wrapText("x".repeat(20), 8)).toEqual(["x".repeat(8), "x".repeat(8), "x".repeat(4)]);
  });
});

describe("Markdown", () => {
  it.each(ANSWERS)("%s: every launch setting is in a fold, fences are closed", (_, answer) => {
    for (const locale of LOCALES) {
      const text = renderMarkdown(answer, locale);
      expect(text.split("<details>").length - 1).toBe(answer.launch.length);
      expect((text.match(/^```/gm) ?? []).length % 2).toBe(0);
      expect(text.split("\n")[0]).toBe(`## ${escapeMarkdown(answer.verdict.line[locale])}`);
    }
  });
});

describe("Chinese", () => {
  it.each(ANSWERS)("%s: every assumption has its Chinese", (_, answer) => {
    for (const one of answer.assumptions) expect(translateAssumption(one, "zh"), one).toMatch(/[\u4e00-\u9fff]/);
  });
});
