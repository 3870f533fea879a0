import { setTimeout as delay } from "node:timers/promises";
import { REST } from "discord.js";
import { toPlatformError } from "../../src/bots/discord/errors.ts";
import { asPlatformError, FetchRest } from "../../src/bots/discord/fetch-rest.ts";
import { ChannelPlace, type DiscordRoutes, InteractionPlace } from "../../src/bots/discord/place.ts";
import type { ChatPlace } from "../../src/core/ports.ts";
import { DiscordStandIn } from "../support/discord/stand-in.ts";
import type { StandMessage } from "../support/discord/world.ts";
import { ManualTimer } from "../support/manual-timer.ts";
import { type ChatPlatformHarness, describeChatPlatform } from "./chat-platform.ts";

type MakePlace = (
  routes: DiscordRoutes,
  standIn: DiscordStandIn,
) => Promise<{ place: ChatPlace; messages: () => StandMessage[] }>;

type MakeRest = (standIn: DiscordStandIn, timer: ManualTimer) => Pick<DiscordRoutes, "rest" | "translate">;

const rests: [by: string, make: MakeRest][] = [
  [
    "by discord.js",
    ({ apiUrl, token }) => ({ rest: new REST({ api: apiUrl }).setToken(token), translate: toPlatformError }),
  ],
  [
    "by fetch",
    ({ apiUrl, token }, timer) => ({
      rest: new FetchRest({ apiUrl, token, fetch, timer }),
      translate: asPlatformError,
    }),
  ],
];

async function makeHarness(makeRest: MakeRest, makePlace: MakePlace): Promise<ChatPlatformHarness> {
  const timer = new ManualTimer();
  const standIn = await DiscordStandIn.start({ clock: timer });
  let nonces = 0;
  const routes = {
    ...makeRest(standIn, timer),
    applicationId: standIn.applicationId,
    clock: timer,
    newNonce: () => `n${++nonces}`,
  };
  let messages: () => StandMessage[] = () => [];
  return {
    timer,
    async place() {
      const made = await makePlace(routes, standIn);
      messages = made.messages;
      return made.place;
    },
    shown: () =>
      messages()
        .filter((message) => !message.deleted)
        .map(({ content, components, attachments }) => ({
          text: content,
          buttons: components.flatMap((row) => (row.components as { custom_id: string }[]).map((one) => one.custom_id)),
          files: attachments.map(({ name, bytes }) => ({ name, bytes })),
        })),
    deleteNewest() {
      messages().at(-1)!.deleted = true;
    },
    async advanceUntil(condition, what) {
      const givenUpAt = performance.now() + 20_000;
      while (!condition()) {
        if (performance.now() > givenUpAt) throw new Error(`Waited in vain for ${what}: ${standIn.recentRequests()}`);
        await delay(2);
        const due = timer.nextDueMs();
        if (due !== undefined && due <= 2000) timer.advance(due);
      }
    },
    violations: () => standIn.violations,
    close: () => standIn.close(),
  };
}

for (const [by, makeRest] of rests) {
  describeChatPlatform(`A Discord channel ${by}`, () =>
    makeHarness(makeRest, async (routes, { world }) => {
      const channel = world.addChannel(world.addGuild("Lab"), "general");
      return { place: new ChannelPlace(routes, { channelId: channel.id }), messages: () => channel.messages };
    }),
  );

  describeChatPlatform(`A deferred Discord interaction ${by}`, () =>
    makeHarness(makeRest, async (routes, standIn) => {
      const { world } = standIn;
      const channel = world.addChannel(world.addGuild("Lab"), "general");
      const interaction = standIn.acknowledged(world.addUser("Ann"), channel, 5);
      const place = new InteractionPlace(routes, {
        token: interaction.token,
        receivedAt: routes.clock.now(),
        private: false,
        deferred: true,
        next: async () => undefined,
      });
      return { place, messages: () => channel.messages };
    }),
  );

  describeChatPlatform(`A private Discord follow-up ${by}`, () =>
    makeHarness(makeRest, async (routes, standIn) => {
      const { world } = standIn;
      const channel = world.addChannel(world.addGuild("Lab"), "general");
      const interaction = standIn.acknowledged(world.addUser("Ann"), channel, 6);
      const place = new InteractionPlace(routes, {
        token: interaction.token,
        receivedAt: routes.clock.now(),
        private: true,
        deferred: false,
        next: async () => undefined,
      });
      return { place, messages: () => channel.messages };
    }),
  );
}
