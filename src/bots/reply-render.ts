/** An answer at one moment, as the messages that show it. Pure: the writer decides when they are sent. */
import { quotedQuestionCharsMax, reasoningCharsMax, replyMessagesMax } from "../core/limits.ts";
import type { ChatButton, ChatFile, ChatPlatform, ChatPost } from "../core/ports.ts";
import type { Texts } from "./locale/texts.ts";
import { partReasoning } from "./reply-reasoning.ts";
import { splitMarkdown } from "./reply-split.ts";

export interface ReplyView {
  /** The question, where the platform does not show it beside the answer. */
  quote?: string;
  /** Everything the model said so far. */
  text: string;
  /** Thoughts that came apart from it. */
  reasoning?: string;
  /** Shown instead of a text: thinking, the place in line, or how it ended without one. */
  status: string;
  ended: boolean;
  /** Small print under the answer. */
  notes: readonly string[];
  /** One line under the answer when it failed. */
  failure?: string;
  buttons: readonly ChatButton[];
}

export interface ReplyStyle {
  texts: Texts;
  reasoning: "spoiler" | "hidden";
  /** Name of the file that holds a long answer. */
  fileName: string;
}

/** Room kept on every page for notes and a failure, so that a page does not move when they come. */
const tailCharsMax = 320;

/** @returns one to `replyMessagesMax` posts; the last one has the buttons, the others have none */
export function renderReply(view: ReplyView, platform: ChatPlatform, style: ReplyStyle): ChatPost[] {
  const { reasoning: inText, answer, thinking } = partReasoning(view.text, view.ended);
  const reasoning = [view.reasoning?.trim() ?? "", inText].filter((part) => part !== "").join("\n");
  const head = renderHead(view, reasoning, platform, style);
  const body = answer.trim() === "" ? emptyBody(view, thinking, style.texts) : answer;
  const charsMax = platform.limits.messageCharsMax - tailCharsMax;
  const pages = splitMarkdown(body, charsMax, charsMax - head.length);
  const shown = pages.slice(0, replyMessagesMax);
  const notes = [...view.notes];
  const files: ChatFile[] = [];
  if (pages.length > shown.length) addFile(answer, view, platform, style, { notes, files });
  return shown.map((page, index) => {
    const first = index === 0 ? `${head}${page}` : page;
    if (index < shown.length - 1) {
      return { text: first, buttons: [], answer: { text: first, tail: "", state: "written" } };
    }
    const tail = renderTail(view, notes, platform);
    const waiting = answer.trim() === "";
    const state = view.ended ? "ended" : waiting ? "waiting" : "writing";
    return {
      // Without an answer its failure stands right under the question.
      text: (page === "" ? `${first.trimEnd()}${tail}` : `${first}${tail}`).trim(),
      buttons: view.buttons,
      answer: { text: waiting && !view.ended ? body : first, tail, state },
      ...(files.length === 0 ? {} : { files }),
    };
  });
}

function renderHead(view: ReplyView, reasoning: string, platform: ChatPlatform, style: ReplyStyle): string {
  const parts: string[] = [];
  if (view.quote !== undefined) {
    parts.push(platform.markup.quote(shorten(view.quote.replace(/\s+/g, " ").trim(), quotedQuestionCharsMax)));
  }
  if (reasoning !== "" && style.reasoning === "spoiler") {
    parts.push(platform.markup.spoiler(`${style.texts.thoughts}: ${shorten(reasoning, reasoningCharsMax)}`));
  }
  return parts.map((part) => `${part}\n`).join("");
}

function emptyBody(view: ReplyView, thinking: boolean, texts: Texts): string {
  if (view.ended && view.failure !== undefined) return "";
  return thinking ? texts.thinking : view.status;
}

function addFile(
  answer: string,
  view: ReplyView,
  platform: ChatPlatform,
  style: ReplyStyle,
  into: { notes: string[]; files: ChatFile[] },
): void {
  if (!view.ended) {
    into.notes.push(style.texts.restFollowsAsFile(answer.length));
    return;
  }
  const bytes = new TextEncoder().encode(answer);
  if (bytes.length > platform.limits.fileBytesMax) {
    into.notes.push(style.texts.fileTooLarge);
    return;
  }
  into.notes.push(style.texts.wholeAnswerInFile(answer.length));
  const description = style.texts.answerFileDescription;
  into.files.push({ name: style.fileName, contentType: "text/markdown; charset=utf-8", bytes, description });
}

function renderTail(view: ReplyView, notes: readonly string[], platform: ChatPlatform): string {
  const failure = view.failure === undefined ? "" : `\n${view.failure}`;
  const small = notes.length === 0 ? "" : `\n${platform.markup.subtext(notes.join(" · "))}`;
  return shorten(`${failure}${small}`, tailCharsMax);
}

/** At most this many characters, the end replaced by an ellipsis; never half a character. */
export function shorten(text: string, charsMax: number): string {
  if (text.length <= charsMax) return text;
  return `${text.slice(0, charsMax - 2).replace(/[\uD800-\uDBFF]$/, "")} …`;
}
