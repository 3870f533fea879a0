import { describe, expect, test } from "vitest";
import { TEXTS } from "../locale/locale.ts";
import { renderReply } from "../reply-render.ts";
import { discordPlatform, readDecorated } from "./platform.ts";

const view = { status: "", ended: true, notes: ["small", "Q4_K_M"], buttons: [] };

describe("readDecorated", () => {
  test.each(["en", "zh-CN", "zh-TW"] as const)("takes off what was put around an answer in %s", (locale) => {
    const style = { texts: TEXTS[locale], reasoning: "spoiler" as const, fileName: "a.md" };
    const text = "<think>hm || hm\n```x```</think>**Yes**\n> quoted\n-# not ours";
    const [post] = renderReply({ ...view, text, quote: "Does it fit?" }, discordPlatform, style);
    expect(post!.text.startsWith(`> Does it fit?\n||${TEXTS[locale].thoughts}: hm`)).toBe(true);
    expect(readDecorated(post!.text, true)).toEqual({ question: "Does it fit?", text: "**Yes**\n> quoted" });
  });

  test("leaves a quotation alone that the model began with", () => {
    expect(readDecorated("> To be\nor not", false)).toEqual({ text: "> To be\nor not" });
  });

  test("leaves nothing of a failure", () => {
    const style = { texts: TEXTS.en, reasoning: "hidden" as const, fileName: "a.md" };
    const failure = TEXTS.en.failure("It broke.", "r1");
    const [post] = renderReply({ ...view, text: "", failure, quote: "Q" }, discordPlatform, style);
    expect(readDecorated(post!.text, true)).toEqual({ question: "Q", text: "" });
  });
});

describe("markup", () => {
  test("a spoiler cannot be ended from inside", () => {
    expect(discordPlatform.markup.spoiler("a||b```c")).toBe("||a| |b'''c||");
  });

  test("every line of a quotation is marked", () => {
    expect(discordPlatform.markup.quote("a\nb")).toBe("> a\n> b");
  });
});
