/** What the bots remember over a restart, over any SQLite. */
import { and, asc, desc, eq, gte, sql } from "drizzle-orm";
import { forgottenMarksMax } from "../core/limits.ts";
import type { BotStateStore } from "../core/ports.ts";
import { connect, type Database, known, translated } from "./usage/database.ts";
import { botChannels, botFeedback, botForgotten } from "./usage/schema.ts";

export function createBotStateStore(database: Database): BotStateStore {
  const db = connect(database);
  return {
    async channelSettings(source, channelId) {
      const { model, persona } = botChannels;
      const [found] = await translated(
        db
          .select({ model, persona })
          .from(botChannels)
          .where(and(eq(botChannels.source, source), eq(botChannels.channelId, channelId)))
          .limit(1),
      );
      return found === undefined ? {} : known(found);
    },

    async setChannelSettings(source, channelId, change) {
      // A member set to undefined is removed, one that is left out stays as it is.
      const set = Object.fromEntries(Object.entries(change).map(([member, value]) => [member, value ?? null]));
      if (Object.keys(set).length === 0) return;
      const target = [botChannels.source, botChannels.channelId];
      await translated(
        db
          .insert(botChannels)
          .values({ source, channelId, ...set })
          .onConflictDoUpdate({ target, set }),
      );
    },

    async recordFeedback(feedback) {
      const { answerId: _answer, source: _source, userId: _user, ...facts } = feedback;
      const unknown = { model: null, quantization: null, timeToFirstTokenMs: null, completionTokensPerSecond: null };
      const target = [botFeedback.answerId, botFeedback.source, botFeedback.userId];
      await translated(
        db
          .insert(botFeedback)
          .values(feedback)
          .onConflictDoUpdate({ target, set: { ...unknown, ...facts } }),
      );
    },

    async feedbackTotals(since) {
      const model = sql<string>`coalesce(${botFeedback.model}, '')`;
      const votes = (vote: string) => sql<number>`sum(${botFeedback.vote} = ${vote})`;
      return await translated(
        db
          .select({ model: model.as("model"), up: votes("up").as("up"), down: votes("down").as("down") })
          .from(botFeedback)
          .where(gte(botFeedback.at, since))
          .groupBy(model)
          .orderBy(asc(model)),
      );
    },

    async forget(source, channelId, userId, at) {
      const target = [botForgotten.source, botForgotten.channelId, botForgotten.userId];
      // A later mark hides more; an earlier one must not show again what was forgotten.
      const later = sql`max(${botForgotten.at}, ${at})`;
      await translated(
        db
          .insert(botForgotten)
          .values({ source, channelId, userId, at })
          .onConflictDoUpdate({ target, set: { at: later } }),
      );
    },

    async forgottenMarks(source, channelId) {
      const { userId, at } = botForgotten;
      const found = await translated(
        db
          .select({ userId, at })
          .from(botForgotten)
          .where(and(eq(botForgotten.source, source), eq(botForgotten.channelId, channelId)))
          .orderBy(desc(at))
          .limit(forgottenMarksMax),
      );
      return new Map(found.map((mark) => [mark.userId, mark.at]));
    },
  };
}
