/** Thumbs that also reach an API elsewhere, for a bot that does not share its ledger. */
import { AppError } from "../core/errors.ts";
import type { BotStateStore } from "../core/ports.ts";
import type { ApiAccess } from "./usage-over-http.ts";

/** Nobody waits for it. */
const feedbackMsMax = 10_000;

/** The same store; a vote is kept here and told there. Throws `AppError` where the API does not take it. */
export function withFeedbackOverHttp(state: BotStateStore, { url, key }: ApiAccess): BotStateStore {
  return {
    channelSettings: (source, channelId) => state.channelSettings(source, channelId),
    setChannelSettings: (source, channelId, change) => state.setChannelSettings(source, channelId, change),
    feedbackTotals: (since) => state.feedbackTotals(since),
    forget: (source, channelId, userId, at) => state.forget(source, channelId, userId, at),
    forgottenMarks: (source, channelId) => state.forgottenMarks(source, channelId),
    async recordFeedback(feedback) {
      await state.recordFeedback(feedback);
      const { source, userId, at: _, ...vote } = feedback;
      const reply = await fetch(`${url.replace(/\/+$/, "")}/v1/feedback`, {
        method: "POST",
        headers: { authorization: `Bearer ${key}`, "content-type": "application/json", "x-snug-source": source },
        body: JSON.stringify({ ...vote, user: userId }),
        signal: AbortSignal.timeout(feedbackMsMax),
      }).catch((cause) => {
        throw new AppError("engine_unavailable", "The API could not be reached; is it running?", { cause });
      });
      if (!reply.ok) throw new AppError("engine_unavailable", `The API answered ${reply.status} to a vote.`);
    },
  };
}
