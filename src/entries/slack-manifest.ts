/** The manifest to paste into Slack, for what this program can do. Loads nothing of Slack's library. */
import { type ManifestOptions, manifest } from "../bots/slack/manifest.ts";
import { capabilities } from "./chat-bot.ts";

/** @returns JSON text */
export function slackManifest(options: Omit<ManifestOptions, "capabilities"> = {}): string {
  return `${JSON.stringify(manifest({ ...options, capabilities }), null, 2)}\n`;
}
