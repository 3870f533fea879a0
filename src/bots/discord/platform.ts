/** Discord's limits and its Markdown dialect. */

import type { ChatPlatform } from "../../core/ports.ts";
import { MIB } from "../../core/units.ts";
import { TEXTS } from "../locale/locale.ts";

/** How long an interaction token can be used, and the choices an autocompletion may offer. */
export const interactionTokenMs = 15 * 60_000;
export const autocompleteChoicesMax = 25;
export const autocompleteCharsMax = 100;

export const discordPlatform: ChatPlatform = {
  name: "discord",
  limits: {
    messageCharsMax: 2000,
    // The smallest upload limit is 10 MiB; a little stays for the form around the file.
    fileBytesMax: 10 * MIB - 64 * 1024,
    // Channels take about five edits in five seconds, interaction tokens fewer in a row.
    editIntervalMsMin: 1200,
    buttonsPerMessageMax: 5,
  },
  markup: {
    quote: (text) =>
      text
        .split("\n")
        .map((line) => `> ${line}`)
        .join("\n"),
    subtext: (text) => `-# ${text.replaceAll("\n", " ")}`,
    // A spoiler ends at the next two bars, and a code fence inside would win over it.
    spoiler: (text) => `||${text.replaceAll("||", "| |").replaceAll("```", "'''")}||`,
    person: (userId) => `<@${userId}>`,
  },
  commands: { localized: true, fields: true, followUps: "replies" },
};

/**
 * Takes an answer's frame off again, for answers of an earlier run of the program.
 *
 * @param quoted whether the message replied to a command, above which the question is repeated
 */
export function readDecorated(content: string, quoted: boolean): { question?: string; text: string } {
  let text = content;
  let question: string | undefined;
  const quote = quoted ? /^> (.*)(\n|$)/.exec(text) : null;
  if (quote !== null) {
    question = quote[1];
    text = text.slice(quote[0].length);
  }
  const thoughts = Object.values(TEXTS).map((texts) => texts.thoughts);
  const spoiler = /^\|\|([^:]+): [\s\S]*?\|\|\n/.exec(text);
  if (spoiler !== null && thoughts.includes(spoiler[1]!)) text = text.slice(spoiler[0].length);
  text = text.replace(/(\n?(-# |⚠️ ).*)+$/u, "").trim();
  return question === undefined ? { text } : { question, text };
}
