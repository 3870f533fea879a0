/** Posts as Slack blocks. Every text that leaves for Slack passes here, so nobody is ever pinged. */
import type { ChatButton, ChatPost } from "../../core/ports.ts";
import { parseButton } from "../buttons.ts";
import { shorten } from "../reply-render.ts";
import {
  blocksMax,
  buttonLabelCharsMax,
  contextCharsMax,
  fallbackTextCharsMax,
  personMarks,
  sectionCharsMax,
  subtextMark,
} from "./platform.ts";
import { defuseMentions, escapeMrkdwn, withoutMarks } from "./text.ts";

/** A Block Kit block; Slack's own types are unions over every block there is. */
export type Block = { type: string } & Record<string, unknown>;

export interface WireMessage {
  /** For notifications and screen readers. */
  text: string;
  blocks: Block[];
}

/** Stands before the id of every button of ours. */
export const actionPrefix = "snug_";

export function toWire(post: Pick<ChatPost, "text" | "buttons">): WireMessage {
  const blocks = [...textBlocks(post.text), ...buttonBlocks(post.buttons ?? [])];
  return { text: fallbackText(post.text), blocks: blocks.slice(0, blocksMax) };
}

/** What stands under a streamed text. */
export function footerBlocks(tail: string, buttons: readonly ChatButton[]): Block[] {
  const small = subtextLines(tail);
  const failure = bodyOf(tail);
  return [
    ...(failure === "" ? [] : [mrkdwnSection(failure)]),
    ...(small === "" ? [] : [contextBlock(small)]),
    ...buttonBlocks(buttons),
  ];
}

function textBlocks(text: string): Block[] {
  const body = defuseMentions(withoutMarks(bodyOf(text)));
  const small = subtextLines(text);
  return [...(body === "" ? [] : [{ type: "markdown", text: body }]), ...(small === "" ? [] : [contextBlock(small)])];
}

function bodyOf(text: string): string {
  return text
    .split("\n")
    .filter((line) => !line.startsWith(subtextMark))
    .join("\n")
    .trim();
}

function subtextLines(text: string): string {
  const lines = text.split("\n").filter((line) => line.startsWith(subtextMark));
  return withoutMarks(lines.join("\n"));
}

export function contextBlock(text: string): Block {
  return { type: "context", elements: [{ type: "mrkdwn", text: escapeWithin(text, contextCharsMax), verbatim: true }] };
}

/** @param text plain; it is escaped */
export function mrkdwnSection(text: string): Block {
  return { type: "section", text: { type: "mrkdwn", text: escapeWithin(text, sectionCharsMax), verbatim: true } };
}

/** Without the small print: it is also what a later run of the program reads of its own answers. */
function fallbackText(text: string): string {
  return escapeWithin(withoutMarks(bodyOf(text) || text), fallbackTextCharsMax);
}

/** Escaping makes a text up to five times as long. */
export function escapeWithin(text: string, charsMax: number): string {
  const escaped = escapeMrkdwn(shorten(text, charsMax));
  return escaped.length <= charsMax ? escaped : escapeMrkdwn(shorten(text, Math.floor(charsMax / 5)));
}

function buttonBlocks(buttons: readonly ChatButton[]): Block[] {
  const votes = (verb: "up" | "down") => buttons.find(({ id }) => parseButton(id)?.verb === verb);
  const [up, down] = [votes("up"), votes("down")];
  // Slack's own thumbs come as a pair.
  const pair = up === undefined || down === undefined ? [] : [up, down];
  const plain = buttons.filter((button) => !pair.includes(button));
  return [
    ...(plain.length === 0 ? [] : [{ type: "actions", elements: plain.map(buttonElement) }]),
    ...(up === undefined || down === undefined ? [] : [feedbackBlock(up, down)]),
  ];
}

function buttonElement({ id, label, emoji, tone }: ChatButton): Block {
  const text = emoji === undefined ? label : `${emoji} ${label}`;
  return {
    type: "button",
    action_id: `${actionPrefix}${id.split(":")[0]}`,
    value: id,
    text: { type: "plain_text", text: shorten(text, buttonLabelCharsMax), emoji: true },
    ...(tone === "danger" ? { style: "danger" } : {}),
  };
}

function feedbackBlock(up: ChatButton, down: ChatButton): Block {
  const choice = ({ id, label }: ChatButton) => ({
    text: { type: "plain_text", text: shorten(label, buttonLabelCharsMax) },
    accessibility_label: shorten(label, buttonLabelCharsMax),
    value: id,
  });
  return {
    type: "context_actions",
    elements: [
      {
        type: "feedback_buttons",
        action_id: `${actionPrefix}feedback`,
        positive_button: choice(up),
        negative_button: choice(down),
      },
    ],
  };
}

/** Names in place of the ids that `markup.person` left. */
export async function withNames(text: string, nameOf: (userId: string) => Promise<string>): Promise<string> {
  const [open, close] = personMarks;
  const pattern = new RegExp(`${open}([A-Z0-9]{1,40})${close}`, "g");
  const ids = [...new Set([...text.matchAll(pattern)].map((match) => match[1]!))];
  const names = new Map(await Promise.all(ids.map(async (id) => [id, await nameOf(id)] as const)));
  return text.replace(pattern, (_, id: string) => names.get(id) ?? id);
}
