import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { manifest } from "../../src/bots/slack/manifest.ts";
import { capabilities } from "../../src/entries/chat-bot.ts";

test("docs/slack-manifest.json is made from the commands there are", () => {
  const text = readFileSync(new URL("../../docs/slack-manifest.json", import.meta.url), "utf8");
  expect(text).toBe(`${JSON.stringify(manifest({ capabilities }), null, 2)}\n`);
});
