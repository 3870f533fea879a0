import { describe, expect, test } from "vitest";
import { buildConversation, estimateTokens, withoutForgotten } from "./conversation.ts";
import type { HistoryMessage } from "./question.ts";

const ann = { id: "ann", name: "Ann" };
const bob = { id: "bob", name: "Bob" };
const bot = { id: "bot", name: "Snug" };

const said = (author: typeof ann, text: string, more: Partial<HistoryMessage> = {}): HistoryMessage => ({
  id: text,
  author,
  own: author === bot,
  text,
  at: 0,
  ...more,
});

const parts = { model: "m", question: "now?", asker: ann, userId: "discord:ann" };

describe("buildConversation", () => {
  test("puts the persona first and the question last", () => {
    const { request, historyCount } = buildConversation({ ...parts, persona: "Be brief.", history: [] });
    expect(request).toEqual({
      model: "m",
      userId: "discord:ann",
      messages: [
        { role: "system", content: "Be brief." },
        { role: "user", content: "now?" },
      ],
    });
    expect(historyCount).toBe(0);
  });

  test("alternates turns, starting with a user's", () => {
    const history = [said(bot, "lone answer"), said(ann, "a"), said(ann, "b"), said(bot, "c"), said(bot, "d")];
    const { request, historyCount } = buildConversation({ ...parts, history });
    expect(request.messages).toEqual([
      { role: "user", content: "a\n\nb" },
      { role: "assistant", content: "c\n\nd" },
      { role: "user", content: "now?" },
    ]);
    expect(historyCount).toBe(4);
  });

  test("names the speakers as soon as there are several", () => {
    const { request } = buildConversation({ ...parts, history: [said(bob, "hi"), said(bot, "hello")] });
    expect(request.messages.map(({ content }) => content)).toEqual(["Bob: hi", "hello", "Ann: now?"]);
  });

  test("keeps the newest messages that leave room for the question and an answer", () => {
    const history = Array.from({ length: 40 }, (_, index) =>
      said(index % 2 === 0 ? ann : bot, `message ${index} ${"x ".repeat(20)}`),
    );
    for (const contextLength of [128, 256, 1024]) {
      const { request, historyCount } = buildConversation({ ...parts, history, contextLength });
      const tokens = request.messages.reduce((sum, { content }) => sum + estimateTokens(content), 0);
      expect(tokens).toBeLessThanOrEqual(contextLength * 0.65);
      const kept = request.messages.slice(0, -1);
      expect(kept.at(-1)?.content ?? history.at(-1)!.text).toBe(history.at(-1)!.text);
      expect(kept).toHaveLength(historyCount);
    }
  });

  test("a smaller share of the budget keeps less, none keeps nothing", () => {
    const history = Array.from({ length: 10 }, (_, index) => said(index % 2 === 0 ? ann : bot, `message ${index}`));
    const count = (budgetShare: number) =>
      buildConversation({ ...parts, history, contextLength: 200, budgetShare }).historyCount;
    expect(count(1)).toBeGreaterThan(count(0.5));
    expect(count(0)).toBe(0);
  });

  test("without a known context everything is kept", () => {
    const history = Array.from({ length: 50 }, (_, index) => said(ann, "x".repeat(1000 + index)));
    expect(buildConversation({ ...parts, history }).historyCount).toBe(50);
  });
});

describe("estimateTokens", () => {
  test("counts a Chinese character as more than a token, English as a token per three characters", () => {
    expect(estimateTokens("显存不够怎么办")).toBeGreaterThanOrEqual(7);
    expect(estimateTokens("What does quantization mean for a small card")).toBeGreaterThan(10);
  });
});

describe("withoutForgotten", () => {
  const history = [
    said(ann, "secret", { at: 1 }),
    said(bot, "about the secret", { at: 2, repliesTo: "secret" }),
    said(bob, "weather", { at: 3 }),
    said(bot, "sunny", { at: 4, repliesTo: "weather" }),
    said(ann, "later", { at: 10 }),
  ];
  const left = (askerId: string, marks: [string, number][]) =>
    withoutForgotten(history, askerId, new Map(marks)).map(({ text }) => text);

  test("hides a user's own messages and the answers to them from everybody", () => {
    expect(left("bob", [["ann", 5]])).toEqual(["weather", "sunny", "later"]);
  });

  test("hides everything before the mark from the user who set it", () => {
    expect(left("ann", [["ann", 5]])).toEqual(["later"]);
  });

  test("changes nothing without marks", () => {
    expect(left("ann", [])).toHaveLength(5);
  });
});
