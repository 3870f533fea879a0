import { expect, test } from "vitest";
import { parseSlackSettings } from "./slack-settings.ts";

const tokens = { SLACK_BOT_TOKEN: "xoxb-1-2-abc", SLACK_APP_TOKEN: "xapp-1-A0-1-abc" };

test("without a bot token there is no bot", () => {
  expect(parseSlackSettings({})).toBeUndefined();
  expect(parseSlackSettings({ SLACK_BOT_TOKEN: "" })).toBeUndefined();
});

test("two tokens are enough, and threads are followed", () => {
  expect(parseSlackSettings(tokens)).toMatchObject({
    botToken: "xoxb-1-2-abc",
    receive: { by: "socket", appToken: "xapp-1-A0-1-abc" },
    admins: [],
    followThreads: true,
    reasoning: "spoiler",
  });
});

test("a signing secret instead of an app token takes requests, at port 3000 of this machine", () => {
  const settings = parseSlackSettings({ SLACK_BOT_TOKEN: "xoxb-1", SLACK_SIGNING_SECRET: "abc" });
  expect(settings?.receive).toEqual({ by: "http", signingSecret: "abc", host: "127.0.0.1", port: 3000 });
});

test("a bot token without a way in is refused with what to set", () => {
  expect(() => parseSlackSettings({ SLACK_BOT_TOKEN: "xoxb-1" })).toThrow(/SLACK_APP_TOKEN.*SLACK_SIGNING_SECRET/);
});

test("swapped tokens and wrong ids are named in one message", () => {
  const wrong = { SLACK_BOT_TOKEN: "xapp-1", SLACK_APP_TOKEN: "xoxb-1", SLACK_ADMINS: "U01, ann" };
  expect(() => parseSlackSettings(wrong)).toThrow(/SLACK_BOT_TOKEN[\s\S]*SLACK_APP_TOKEN[\s\S]*SLACK_ADMINS/);
});

test("lists name workspaces, channels and people", () => {
  const settings = parseSlackSettings({ ...tokens, SLACK_ALLOW: "channel:C01 user:U01,workspace:T01" });
  expect(settings?.allow).toEqual({ servers: ["T01"], channels: ["C01"], roles: [], users: ["U01"] });
});
