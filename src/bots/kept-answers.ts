/**
 * Answers whose buttons work after the program went to sleep: their question and what is known of how they came about,
 * without the answer itself.
 */
import * as z from "zod";
import type { AnswerRecord } from "./answer-book.ts";
import type { ChatBot } from "./bot.ts";
import { parseButton } from "./buttons.ts";
import type { Keep } from "./keep.ts";
import type { Question } from "./question.ts";

const askerSchema = z.object({
  id: z.string(),
  name: z.string(),
  roleIds: z.array(z.string()),
  isAdmin: z.boolean(),
  isManager: z.boolean(),
});
const whereSchema = z.object({
  source: z.enum(["discord", "slack"]),
  serverId: z.string().optional(),
  channelId: z.string(),
  parentChannelId: z.string().optional(),
  direct: z.boolean(),
});

const keptSchema = z.object({
  question: z.object({
    id: z.string(),
    asker: askerSchema,
    where: whereSchema,
    locale: z.enum(["en", "zh-CN", "zh-TW"]),
    text: z.string(),
    model: z.string().optional(),
    quote: z.string().optional(),
  }),
  producer: z.object({ model: z.string(), quantization: z.string().optional() }).optional(),
  timings: z.object({ timeToFirstTokenMs: z.number().optional(), completionTokensPerSecond: z.number().optional() }),
});

const keyOf = (answerId: string) => `answer ${answerId}`;

/** Questions with files are not kept: they would be asked again without them. */
export async function keepAnswer(record: AnswerRecord, keep: Keep): Promise<void> {
  const { question, producer, timings = {} } = record;
  if (question.files.length > 0) return;
  const { id, asker, where, locale, text, model, quote } = question;
  // Members without a value stand for absent ones.
  const kept = { question: { id, asker, where, locale, text, model, quote }, producer, timings };
  await keep.put(keyOf(record.id), JSON.parse(JSON.stringify(kept)));
}

/** Puts the answer a button belongs to before the bot again, when it is kept and not in mind. */
export async function recallAnswer(
  buttonId: string,
  bot: ChatBot,
  keep: Keep,
  history: Question["history"],
): Promise<void> {
  const answerId = parseButton(buttonId)?.answerId;
  if (answerId === undefined || bot.remembers(answerId)) return;
  const kept = keptSchema.safeParse(await keep.get(keyOf(answerId)));
  if (!kept.success) return;
  const { question, producer, timings } = plain(kept.data);
  bot.remember({
    id: answerId,
    question: { ...question, files: [], history },
    text: "",
    messageIds: [],
    superseded: false,
    timings,
    ...(producer === undefined ? {} : { producer }),
  });
}

type Plain<Value> = Value extends readonly (infer Item)[]
  ? Plain<Item>[]
  : Value extends object
    ? { [Key in keyof Value]: Plain<Exclude<Value[Key], undefined>> }
    : Value;

/** The same value without members that are undefined, which the bots' types take for a mistake. */
function plain<Value>(value: Value): Plain<Value> {
  return JSON.parse(JSON.stringify(value)) as Plain<Value>;
}
