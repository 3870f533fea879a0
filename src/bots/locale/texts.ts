/** What the bots say, as a shape that every language fills. */
import type { ErrorCode } from "../../core/errors.ts";
import type { FeedbackVote } from "../../core/ports.ts";

export type BotLocale = "en" | "zh-CN" | "zh-TW";

export interface OptionTexts {
  /** Lower-case, at most 32 characters. */
  name: string;
  /** At most 100 characters. */
  description: string;
}

export interface CommandTexts extends OptionTexts {
  options?: Record<string, OptionTexts>;
}

export type CommandTextKey =
  | "ask"
  | "fits"
  | "compare"
  | "models"
  | "model"
  | "persona"
  | "stats"
  | "usage"
  | "forget"
  | "help";

/** What the help tells, with names as they are typed on the platform. */
export interface HelpFacts {
  commands: readonly { name: string; description: string }[];
  mention: string;
  /** The command that asks, and its option that only the asker sees the answer. */
  ask: string;
  privately: string;
  followUps: "replies" | "threads";
}

export interface Texts {
  commands: Record<CommandTextKey, CommandTexts>;
  /** Message menu entry and its form. */
  askAbout: { name: string; title: string; label: string; placeholder: string; question: string; about: string };
  periods: { day: string; week: string; month: string };

  thinking: string;
  queued(position: number, waitSeconds: number | undefined): string;
  /** @param share of the download, 0 to 1 */
  preparing(step: "download" | "load", share: number | undefined): string;
  thoughts: string;
  stopped: string;
  questionDeleted: string;
  interrupted: string;
  cutAtTokenLimit: string;
  cutAtReplyLimit: string;
  emptyAnswer: string;
  continuedBelow: string;
  restFollowsAsFile(chars: number): string;
  wholeAnswerInFile(chars: number): string;
  fileTooLarge: string;
  usingLastMessages(count: number): string;
  tokensPerSecond(rate: string): string;
  answerFileDescription: string;

  buttons: { stop: string; regenerate: string; up: string; down: string };
  onlyAskerMayStop: string;
  onlyAskerMayRegenerate: string;
  answerOver: string;
  answerForgotten: string;
  voteNoted: Record<FeedbackVote, string>;

  notAllowedHere: string;
  /** For the statistics of everybody. */
  statsAdminsOnly: string;
  adminsOnly: string;
  managersOnly: string;
  tooOftenUser(seconds: number): string;
  tooOftenChannel(seconds: number): string;
  stillAnswering(count: number): string;
  restarting: string;
  emptyQuestion: string;
  questionTooLong(charsMax: number): string;
  blockedByPlatform: string;

  fileIsPicture(name: string): string;
  fileIsDocument(name: string): string;
  fileIsNotText(name: string): string;
  fileOverLimit(name: string, limit: string): string;
  fileUnreadable(name: string): string;
  tooManyFiles(countMax: number): string;

  modelsTitle: string;
  modelLoaded: string;
  modelDemo: string;
  modelHere: string;
  modelContext(tokens: string): string;
  modelsNone: string;
  modelUnknown(name: string, known: string): string;
  modelSet(name: string): string;
  modelReset(name: string): string;
  /** @param example how the command is called to choose one */
  modelCurrent(name: string, example: string): string;
  defaultModel: string;

  personaSet: string;
  personaRemoved: string;
  /** @param example how the command is called to set one */
  personaNone(example: string): string;
  personaCurrent: string;
  personaTooLong(charsMax: number): string;

  forgotten: string;

  usageTitle(period: string): string;
  statsTitle(period: string): string;
  usageRequests(requests: number, failed: number, aborted: number): string;
  usageTokens(prompt: number, completion: number, cached: number): string;
  usageNone: string;
  statsByModel: string;
  statsByUser: string;
  statsBySource: string;
  /** Median, and the time 19 of 20 answers keep where that is another. */
  statsFirstWord(p50: string, p95: string | undefined): string;
  statsFeedback: string;
  statsRow(name: string, requests: number, tokens: number): string;
  statsMore(count: number): string;
  /** Inside a picture: plain words without `&` and `<`. */
  statsPicture: { title(days: number): string; read: string; written: string; description: string };

  fitsNeedsQuery: string;
  /** Markdown. */
  compareBegins(model: string): string;
  compareStep(label: string, percent: number): string;
  compareCancelled: string;
  compareOver: string;
  comparePicture: string;
  fitsPicture: string;

  help(facts: HelpFacts): string;

  /** One line that ends a failure. */
  failure(sentence: string, requestId: string): string;
  /** Undefined: the sentence of the error table is already in this language. */
  errorSentences: Record<ErrorCode, string> | undefined;
  retryAfter(seconds: number): string;
}
