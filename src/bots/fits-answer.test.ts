import { describe, expect, test } from "vitest";
import { createFitsPort } from "./fits-answer.ts";

const port = createFitsPort();

describe("the planner in a chat", () => {
  test("answers within the platform's length, verdict first", async () => {
    for (const charsMax of [1200, 2000]) {
      const { text } = await port.answer("13b 6gb", "en", charsMax);
      expect(text.length).toBeLessThanOrEqual(charsMax);
      expect(text).toMatch(/^\*\*.*13B.*Q4_K_M.*6 GB/);
    }
  });

  test("answers Chinese callers in Chinese", async () => {
    expect((await port.answer("13B 6G显存", "zh-CN", 2000)).text).toContain("显卡");
  });

  test("draws a picture where a drawer is given, described in words", async () => {
    const drawn: string[] = [];
    const drawing = createFitsPort({
      drawPng: async (render) => {
        const svg = render("en");
        if (svg === undefined) return undefined;
        drawn.push(svg);
        return new Uint8Array([1]);
      },
    });
    const { picture } = await drawing.answer("13b 6gb", "en", 2000);
    expect(picture).toMatchObject({ name: "memory.png", contentType: "image/png" });
    expect(picture?.description).toMatch(/^Memory bar: what fills the card: .*13B/);
    expect(drawn[0]).toMatch(/^<svg/);
    expect((await drawing.answer("what is nf4", "en", 2000)).picture).toBeUndefined();
    expect((await port.answer("13b 6gb", "en", 2000)).picture).toBeUndefined();
  });

  test("refuses what it cannot read with a sentence in every language", async () => {
    await expect(port.answer("hello world", "en", 2000)).rejects.toMatchObject({
      code: "invalid_request",
      details: { sentences: { zh: expect.stringContaining("没有找到") } },
    });
  });
});

describe("suggestions", () => {
  test("start with examples", () => {
    expect(port.suggest("", 25)[0]).toBe("13b 6gb");
  });

  test("complete a model's or a card's name", () => {
    expect(port.suggest("qwen3 8", 25)).toContain("Qwen3 8B");
    expect(port.suggest("13b on 40", 25)).toContain("13b on RTX 4090");
  });

  test("add the half that is missing, and keep what is typed", () => {
    const suggestions = port.suggest("13b", 25);
    expect(suggestions[0]).toBe("13b");
    expect(suggestions).toContain("13b 6gb");
    expect(port.suggest("6gb", 25)).toContain("6gb 8b");
  });

  test("are never more than asked for", () => {
    expect(port.suggest("qwen", 25).length).toBeLessThanOrEqual(25);
    expect(port.suggest("zzzzzz", 25)).toEqual([]);
  });
});
