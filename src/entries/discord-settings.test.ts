import { describe, expect, test } from "vitest";
import { parseDiscordSettings } from "./discord-settings.ts";

const token = "MTIz.abc.def-_";
const id = "123456789012345678";

describe("parseDiscordSettings", () => {
  test("without a token there is no bot", () => {
    expect(parseDiscordSettings({})).toBeUndefined();
    expect(parseDiscordSettings({ DISCORD_TOKEN: "" })).toBeUndefined();
  });

  test("a token alone is enough", () => {
    expect(parseDiscordSettings({ DISCORD_TOKEN: token })).toMatchObject({
      token,
      register: true,
      admins: [],
      followThreads: "auto",
      answerIn: "channel",
      reasoning: "spoiler",
      pace: { questionsPerUserMax: 10, answersPerUserMax: 2 },
    });
  });

  test("reads lists of people and places", () => {
    const settings = parseDiscordSettings({
      DISCORD_TOKEN: token,
      DISCORD_ADMINS: `${id}, ${id}`,
      DISCORD_ALLOW: `server:${id} channel:${id},role:${id}`,
      DISCORD_DENY: `user:${id}`,
      SNUG_BOT_USER_QUESTIONS: "3",
      SNUG_BOT_USER_TOKENS_PER_DAY: "20000",
    });
    expect(settings).toMatchObject({
      admins: [id, id],
      allow: { servers: [id], channels: [id], roles: [id], users: [] },
      deny: { users: [id] },
      pace: { questionsPerUserMax: 3 },
      userLimits: { tokensPerDay: 20_000 },
    });
  });

  test("names everything that is wrong in one message", () => {
    const wrong = {
      DISCORD_TOKEN: "not a token",
      DISCORD_GUILD: "my server",
      DISCORD_ADMINS: "ann",
      DISCORD_ALLOW: "everybody",
      DISCORD_FOLLOW_THREADS: "maybe",
      SNUG_BOT_USER_QUESTIONS: "many",
    };
    const caught = (() => {
      try {
        parseDiscordSettings(wrong);
      } catch (thrown) {
        return thrown as { code: string; message: string };
      }
      return undefined;
    })();
    expect(caught?.code).toBe("invalid_configuration");
    for (const name of Object.keys(wrong)) expect(caught?.message).toContain(`  ${name} must be`);
    expect(caught?.message).not.toContain("not a token");
  });
});
