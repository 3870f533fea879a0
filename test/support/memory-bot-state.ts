/** What the bots remember, in memory; keeps the same contract as the stored form. */
import type { BotStateStore, ChannelSettings, Feedback } from "../../src/core/ports.ts";

export class MemoryBotState implements BotStateStore {
  readonly #settings = new Map<string, ChannelSettings>();
  readonly #marks = new Map<string, Map<string, number>>();
  readonly #votes = new Map<string, Feedback>();

  async channelSettings(source: string, channelId: string): Promise<ChannelSettings> {
    return { ...this.#settings.get(`${source} ${channelId}`) };
  }

  async setChannelSettings(
    source: string,
    channelId: string,
    change: { [Key in keyof ChannelSettings]: ChannelSettings[Key] | undefined },
  ): Promise<void> {
    const key = `${source} ${channelId}`;
    const changed = Object.entries({ ...this.#settings.get(key), ...change });
    this.#settings.set(key, Object.fromEntries(changed.filter(([, value]) => value !== undefined)));
  }

  async recordFeedback(feedback: Feedback): Promise<void> {
    this.#votes.set(`${feedback.answerId} ${feedback.source} ${feedback.userId}`, feedback);
  }

  async feedbackTotals(since: number): Promise<{ model: string; up: number; down: number }[]> {
    const byModel = new Map<string, { model: string; up: number; down: number }>();
    for (const { at, model = "", vote } of this.#votes.values()) {
      if (at < since) continue;
      const totals = byModel.get(model) ?? { model, up: 0, down: 0 };
      totals[vote]++;
      byModel.set(model, totals);
    }
    return [...byModel.values()].sort((a, b) => (a.model < b.model ? -1 : 1));
  }

  async forget(source: string, channelId: string, userId: string, at: number): Promise<void> {
    const key = `${source} ${channelId}`;
    const marks = this.#marks.get(key) ?? new Map<string, number>();
    marks.set(userId, Math.max(at, marks.get(userId) ?? at));
    this.#marks.set(key, marks);
  }

  async forgottenMarks(source: string, channelId: string): Promise<Map<string, number>> {
    return new Map(this.#marks.get(`${source} ${channelId}`));
  }

  /** Every vote, oldest first. */
  get votes(): Feedback[] {
    return [...this.#votes.values()];
  }
}
