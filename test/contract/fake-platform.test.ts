import { setImmediate } from "node:timers/promises";
import { FakePlace } from "../support/fake-platform.ts";
import { ManualTimer } from "../support/manual-timer.ts";
import { type ChatPlatformHarness, describeChatPlatform } from "./chat-platform.ts";

describeChatPlatform("The fake platform", async (): Promise<ChatPlatformHarness> => {
  const timer = new ManualTimer();
  let place = new FakePlace(timer);
  return {
    timer,
    async place() {
      place = new FakePlace(timer);
      return place;
    },
    shown: () =>
      place.messages
        .filter((message) => !message.deleted)
        .map(({ text, buttons, files }) => ({
          text,
          buttons: buttons.map(({ id }) => id),
          files: files.map(({ name, bytes }) => ({ name, bytes })),
        })),
    deleteNewest() {
      place.messages.at(-1)!.deleted = true;
    },
    async advanceUntil(condition, what) {
      for (let turn = 0; !condition(); turn++) {
        if (turn > 10_000) throw new Error(`Waited in vain for ${what}`);
        await setImmediate();
        timer.advance(timer.nextDueMs() ?? 0);
      }
    },
    violations: () => [],
    close: async () => {},
  };
});
