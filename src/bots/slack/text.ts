/** Between what people and models write and what Slack reads: mentions, links and the three escaped characters. */
import { personMarks, subtextMark } from "./platform.ts";

/** For mrkdwn text: Slack's three control characters as plain text. */
export function escapeMrkdwn(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** Written right behind the bracket of what Slack would read as a mention; takes no room. */
const wordJoiner = "\u2060";

const specialMention = /^(channel|here|everyone|group|subteam\^|date\^)/i;
const idMention = /^[A-Z0-9]{2}/;

/** For Markdown text: mentions lose their force, everything else stays as it is, code and HTML too. */
export function defuseMentions(text: string): string {
  return text.replace(/<(?=([!@#])([A-Za-z0-9]+\^?))/g, (bracket, sign: string, name: string) => {
    const calls = sign === "!" ? specialMention.test(name) : idMention.test(name);
    return calls ? `${bracket}${wordJoiner}` : bracket;
  });
}

/** The longest beginning of a text that appending to it cannot change: no half mention, no fence that only ends so far. */
export function stableBeginning(text: string): string {
  const withoutEnd = text.replace(/\n```\s*$/, "").trimEnd();
  const bracket = withoutEnd.lastIndexOf("<");
  const half = bracket >= 0 && /^<[!@#]?[a-z0-9^]{0,12}$/i.test(withoutEnd.slice(bracket));
  const stable = half ? withoutEnd.slice(0, bracket) : withoutEnd;
  // Half of a surrogate pair is no character.
  return /[\uD800-\uDBFF]$/.test(stable) ? stable.slice(0, -1) : stable;
}

export function withoutMarks(text: string): string {
  return text.replaceAll(subtextMark, "").replace(new RegExp(`[${personMarks.join("")}]`, "g"), "");
}

/** Markdown as the bots write it (bold, lists, code) in Slack's own dialect, for places without a Markdown block. */
export function toMrkdwn(markdown: string): string {
  return escapeMrkdwn(withoutMarks(markdown))
    .replace(/\*\*(.+?)\*\*/g, "*$1*")
    .replace(/^- /gm, "• ")
    .replace(/^#+ (.*)$/gm, "*$1*");
}

/**
 * A message's text as its readers see it: without the mention that called the bot, names instead of ids, links as they
 * were typed.
 *
 * @param nameOf undefined for people who are not known
 */
export function readableText(text: string, botUserId: string, nameOf: (userId: string) => string | undefined): string {
  return text
    .replaceAll(new RegExp(`<@${botUserId}(\\|[^>]*)?>`, "g"), " ")
    .replace(/<@([A-Z0-9]+)(?:\|([^>]*))?>/g, (_, id: string, label?: string) => `@${nameOf(id) ?? label ?? id}`)
    .replace(/<#([A-Z0-9]+)(?:\|([^>]*))?>/g, (_, id: string, label?: string) => `#${label || id}`)
    .replace(/<!(?:subteam\^)?([A-Za-z0-9]+)(?:\|([^>]*))?>/g, (_, id: string, label?: string) => label ?? `@${id}`)
    .replace(/<((?:https?|mailto|tel):[^|>]+)(?:\|([^>]*))?>/g, (_, url: string, label?: string) =>
      label === undefined || label === "" || url.endsWith(label) ? (label ?? url) : `${label} (${url})`,
    )
    .replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">")
    .replaceAll("&amp;", "&")
    .trim();
}

/** Ids of the people a message calls. */
export function mentionedUsers(text: string): string[] {
  return [...text.matchAll(/<@([A-Z0-9]+)/g)].map((match) => match[1]!);
}
