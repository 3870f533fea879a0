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

const many = {
  SLACK_CLIENT_ID: "1234.5678",
  SLACK_CLIENT_SECRET: "abc123",
  SLACK_TOKEN_KEY: "0123456789abcdef0123456789abcdef",
  SLACK_SIGNING_SECRET: "abc",
};

test("client id, client secret and a key let workspaces install the bot", () => {
  const settings = parseSlackSettings({ ...many, SLACK_ADMINS: "T01:U01" });
  expect(settings).toMatchObject({
    botToken: undefined,
    install: { clientId: "1234.5678", clientSecret: "abc123", tokenKey: many.SLACK_TOKEN_KEY },
    receive: { by: "http" },
    admins: ["T01:U01"],
  });
  expect(parseSlackSettings(tokens)?.install).toBeUndefined();
});

test.each([
  ["one workspace's token besides", { ...many, SLACK_BOT_TOKEN: "xoxb-1" }, /SLACK_BOT_TOKEN.*one workspace/],
  ["Socket Mode", { ...many, SLACK_APP_TOKEN: "xapp-1" }, /no SLACK_APP_TOKEN/],
  ["no signing secret", { ...many, SLACK_SIGNING_SECRET: "" }, /SLACK_SIGNING_SECRET/],
  ["a part alone", { ...many, SLACK_CLIENT_SECRET: "" }, /SLACK_CLIENT_SECRET.*together/],
  ["a short key", { ...many, SLACK_TOKEN_KEY: "short" }, /SLACK_TOKEN_KEY must have 32 characters/],
  ["administrators without their workspace", { ...many, SLACK_ADMINS: "U01" }, /T0123ABCD:U0123ABCD/],
  ["a workspace's administrators for one", { ...tokens, SLACK_ADMINS: "T01:U01" }, /U0123ABCD/],
])("many workspaces with %s are refused with what to set", (_, environment, message) => {
  expect(() => parseSlackSettings(environment)).toThrow(message);
});

test("lists name workspaces, channels and people", () => {
  const settings = parseSlackSettings({ ...tokens, SLACK_ALLOW: "channel:C01 user:U01,workspace:T01" });
  expect(settings?.allow).toEqual({ servers: ["T01"], channels: ["C01"], roles: [], users: ["U01"] });
});
