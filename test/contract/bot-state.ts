/**
 * What the bots' memory must keep: the one in memory, SQLite and D1 run the same suite. It imports nothing of Node, so
 * that it also runs inside workerd.
 */
import { describe, expect, test } from "vitest";
import type { BotStateStore, Feedback } from "../../src/core/ports.ts";

const vote = (more: Partial<Feedback> = {}): Feedback => ({
  answerId: "a1",
  source: "discord",
  userId: "ann",
  vote: "up",
  at: 1000,
  ...more,
});

/** @param openEmpty opens an empty store; called once per test */
export function describeBotState(name: string, openEmpty: () => Promise<BotStateStore>): void {
  describe(`${name} keeps the bot state contract`, () => {
    test("a channel nobody set up has no settings", async () => {
      expect(await (await openEmpty()).channelSettings("discord", "c1")).toEqual({});
    });

    test("settings are kept by member, channel and platform", async () => {
      const store = await openEmpty();
      await store.setChannelSettings("discord", "c1", { model: "small" });
      await store.setChannelSettings("discord", "c1", { persona: "Be brief. 简短些。" });
      await store.setChannelSettings("discord", "c2", { model: "large" });
      expect(await store.channelSettings("discord", "c1")).toEqual({ model: "small", persona: "Be brief. 简短些。" });
      expect(await store.channelSettings("discord", "c2")).toEqual({ model: "large" });
      expect(await store.channelSettings("slack", "c1")).toEqual({});
    });

    test("a member set to undefined is removed, the others stay", async () => {
      const store = await openEmpty();
      await store.setChannelSettings("discord", "c1", { model: "small", persona: "Be brief." });
      await store.setChannelSettings("discord", "c1", { persona: undefined });
      await store.setChannelSettings("discord", "c1", {});
      expect(await store.channelSettings("discord", "c1")).toEqual({ model: "small" });
    });

    test("votes are counted by model since a time", async () => {
      const store = await openEmpty();
      await store.recordFeedback(
        vote({ answerId: "a1", model: "small", quantization: "Q4_K_M", timeToFirstTokenMs: 12.5 }),
      );
      await store.recordFeedback(vote({ answerId: "a2", model: "small", vote: "down" }));
      await store.recordFeedback(vote({ answerId: "a3", model: "large", at: 2000 }));
      await store.recordFeedback(vote({ answerId: "a4" }));
      expect(await store.feedbackTotals(0)).toEqual([
        { model: "", up: 1, down: 0 },
        { model: "large", up: 1, down: 0 },
        { model: "small", up: 1, down: 1 },
      ]);
      expect(await store.feedbackTotals(2000)).toEqual([{ model: "large", up: 1, down: 0 }]);
    });

    test("a user's second vote on an answer replaces the first, other users' stay", async () => {
      const store = await openEmpty();
      await store.recordFeedback(vote({ model: "small" }));
      await store.recordFeedback(vote({ model: "small", vote: "down" }));
      await store.recordFeedback(vote({ model: "small", userId: "bob" }));
      await store.recordFeedback(vote({ model: "small", source: "slack" }));
      expect(await store.feedbackTotals(0)).toEqual([{ model: "small", up: 2, down: 1 }]);
    });

    test("marks are kept by user and channel, the latest counts", async () => {
      const store = await openEmpty();
      await store.forget("discord", "c1", "ann", 1000);
      await store.forget("discord", "c1", "bob", 1500);
      await store.forget("discord", "c1", "ann", 3000);
      await store.forget("discord", "c1", "ann", 2000);
      await store.forget("discord", "c2", "ann", 5000);
      expect(await store.forgottenMarks("discord", "c1")).toEqual(
        new Map([
          ["ann", 3000],
          ["bob", 1500],
        ]),
      );
      expect(await store.forgottenMarks("slack", "c1")).toEqual(new Map());
    });

    test("hostile ids and texts are stored as they are", async () => {
      const store = await openEmpty();
      const hostile = "'; DROP TABLE bot_channels; --\u0000👩‍💻";
      await store.setChannelSettings("discord", hostile, { persona: hostile });
      expect(await store.channelSettings("discord", hostile)).toEqual({ persona: hostile });
    });
  });
}
