/** Slack's limits and how its messages say what Markdown has no word for. */
import type { ChatCommandStyle, ChatMarkup, ChatPlatform } from "../../core/ports.ts";
import { MIB } from "../../core/units.ts";

/** Starts a line of small print; the wire form sets such lines as a context block. */
export const subtextMark = "\u2063";
/** Around a user id; the wire form writes the person's name, so that nobody is called by it. */
export const personMarks = ["\uE000", "\uE001"] as const;

const quote = (text: string) =>
  text
    .split("\n")
    .map((line) => `> ${line}`)
    .join("\n");

const markup: ChatMarkup = {
  quote,
  subtext: (text) => `${subtextMark}${text.replaceAll("\n", " ")}`,
  // Slack hides nothing behind a click, so thoughts are set apart as a quotation.
  spoiler: (text) => `${quote(text)}\n`,
  person: (userId) => `${personMarks[0]}${userId}${personMarks[1]}`,
};

/** A workspace knows a command by one name alone. */
const commands: ChatCommandStyle = { localized: false, fields: false, followUps: "threads" };

/** Slack accepts 1 GiB; an answer of this size is a mistake. */
const fileBytesMax = 10 * MIB;

/** Where Slack lets a message grow: 12,000 characters of Markdown, less what keeps mentions harmless. */
export const streamPlatform: ChatPlatform = {
  name: "slack",
  limits: { messageCharsMax: 11_500, fileBytesMax, editIntervalMsMin: 1_000, buttonsPerMessageMax: 5 },
  markup,
  commands,
};

/** Where an answer is written by edits: 4,000 characters, and 50 edits a minute over all answers. */
export const editPlatform: ChatPlatform = {
  name: "slack",
  limits: { messageCharsMax: 4_000, fileBytesMax, editIntervalMsMin: 1_300, buttonsPerMessageMax: 5 },
  markup,
  commands,
};

/** Slack's own bounds of one text field, by block. */
export const fallbackTextCharsMax = 4_000;
export const sectionCharsMax = 3_000;
export const contextCharsMax = 2_000;
export const buttonLabelCharsMax = 75;
export const blocksMax = 50;

/** Names the message shortcut and its form, in the manifest and in what comes back. */
export const askAboutCallback = "snug_ask_about";
