import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { slackManifest } from "../../src/entries/slack-manifest.ts";

test("docs/slack-manifest.json is what the program prints", () => {
  expect(readFileSync(new URL("../../docs/slack-manifest.json", import.meta.url), "utf8")).toBe(slackManifest());
});
