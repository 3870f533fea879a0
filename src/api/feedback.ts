/** POST /v1/feedback: a thumb under an answer, from bots and other programs that are not beside the ledger. */
import * as z from "zod";
import { feedbackIdCharsMax, modelNameCharsMax, userIdCharsMax } from "../core/limits.ts";
import type { ApiKey, BotStateStore, Clock, UsageSource } from "../core/ports.ts";
import { parseParameters } from "./parameters.ts";

const measured = z.number("must be a number").min(0, "must be at least 0").optional();
const text = (charsMax: number) =>
  z
    .string(`must be a text of 1 to ${charsMax} characters`)
    .min(1, `must be a text of 1 to ${charsMax} characters`)
    .max(charsMax, `must be a text of 1 to ${charsMax} characters`);

export const feedbackSchema = z.strictObject(
  {
    /** Of the answer, in the caller's own count; a second vote of the same user on it replaces the first. */
    answerId: text(feedbackIdCharsMax),
    vote: z.enum(["up", "down"], 'must be "up" or "down"'),
    /** Left out: the key itself. */
    user: text(userIdCharsMax).optional(),
    model: text(modelNameCharsMax).optional(),
    quantization: text(100).optional(),
    timeToFirstTokenMs: measured,
    completionTokensPerSecond: measured,
  },
  "must be a JSON object",
);

/** @throws AppError invalid_request naming the field at fault */
export async function takeFeedback(
  store: Pick<BotStateStore, "recordFeedback">,
  body: unknown,
  { key, source, clock }: { key: ApiKey; source: UsageSource; clock: Clock },
): Promise<void> {
  const { user, ...given } = parseParameters(feedbackSchema, body);
  const { answerId, vote, model, quantization, timeToFirstTokenMs, completionTokensPerSecond } = given;
  await store.recordFeedback({
    // Callers count for themselves: no key's vote takes the place of another's.
    answerId: `${key.id} ${answerId}`,
    vote,
    source,
    userId: user ?? key.id,
    at: clock.now(),
    ...(model === undefined ? {} : { model }),
    ...(quantization === undefined ? {} : { quantization }),
    ...(timeToFirstTokenMs === undefined ? {} : { timeToFirstTokenMs }),
    ...(completionTokensPerSecond === undefined ? {} : { completionTokensPerSecond }),
  });
}
