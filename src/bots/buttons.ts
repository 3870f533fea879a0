/** The buttons under an answer and what comes back when one is pressed. */
import type { ChatButton, FeedbackVote } from "../core/ports.ts";
import type { Texts } from "./locale/texts.ts";

/** "halt" ends a comparison, "stop" an answer. */
export type ButtonVerb = "stop" | "halt" | "again" | FeedbackVote;

const verbs: readonly string[] = ["stop", "halt", "again", "up", "down"] satisfies ButtonVerb[];

export function answerButtons(answerId: string, phase: "running" | "answered" | "failed", texts: Texts): ChatButton[] {
  const { stop, regenerate, up, down } = texts.buttons;
  const again: ChatButton = { id: `again:${answerId}`, label: regenerate, emoji: "🔁", tone: "neutral" };
  if (phase === "running") return [{ id: `stop:${answerId}`, label: stop, emoji: "⏹️", tone: "danger" }];
  if (phase === "failed") return [again];
  return [
    again,
    { id: `up:${answerId}`, label: up, emoji: "👍", tone: "quiet" },
    { id: `down:${answerId}`, label: down, emoji: "👎", tone: "quiet" },
  ];
}

export function comparisonButtons(id: string, texts: Texts): ChatButton[] {
  return [{ id: `halt:${id}`, label: texts.buttons.stop, emoji: "⏹️", tone: "danger" }];
}

/** Undefined for buttons that are not ours. */
export function parseButton(id: string): { verb: ButtonVerb; answerId: string } | undefined {
  const [verb, answerId, ...more] = id.split(":");
  if (verb === undefined || answerId === undefined || more.length > 0 || !verbs.includes(verb)) return undefined;
  return { verb: verb as ButtonVerb, answerId };
}

/** Whether these are the buttons of an answer that ended, as opposed to a notice or an answer still running. */
export function areAnswerButtons(ids: readonly string[]): boolean {
  return ids.some((id) => parseButton(id)?.verb === "up");
}
