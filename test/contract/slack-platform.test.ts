import { setTimeout as delay } from "node:timers/promises";
import { OPEN_ACCESS } from "../../src/bots/access.ts";
import { ChatBot } from "../../src/bots/bot.ts";
import { MemoryKeep } from "../../src/bots/keep.ts";
import { DEFAULT_PACE } from "../../src/bots/pace.ts";
import { boltCalls } from "../../src/bots/slack/bolt-calls.ts";
import { type SendCall, SlackCalls } from "../../src/bots/slack/calls.ts";
import type { Abilities, SlackContext } from "../../src/bots/slack/context.ts";
import { fetchCalls } from "../../src/bots/slack/fetch-calls.ts";
import { People } from "../../src/bots/slack/people.ts";
import { ThreadPlace } from "../../src/bots/slack/place.ts";
import { ThreadMemory } from "../../src/bots/slack/thread-memory.ts";
import { Tiers } from "../../src/bots/slack/tiers.ts";
import { FakeEngine } from "../support/fake-engine.ts";
import { ManualTimer } from "../support/manual-timer.ts";
import { MemoryBotState } from "../support/memory-bot-state.ts";
import { MemoryEventClaims } from "../support/memory-event-claims.ts";
import { MemoryLogger } from "../support/memory-logger.ts";
import { SlackStandIn } from "../support/slack/stand-in.ts";
import { buttonIds, type StandChannel, type StandMessage, shownText } from "../support/slack/world.ts";
import { usageOfRows } from "../support/usage-rows.ts";
import { type ChatPlatformHarness, describeChatPlatform, type ShownMessage } from "./chat-platform.ts";

function makeContext(send: SendCall, standIn: SlackStandIn, timer: ManualTimer, abilities: Abilities): SlackContext {
  const logger = new MemoryLogger();
  const calls = new SlackCalls(send, { tiers: new Tiers(timer), timer, logger });
  let ids = 0;
  const newId = () => `c${++ids}`;
  const bot = new ChatBot({
    engine: new FakeEngine(),
    state: new MemoryBotState(),
    usage: usageOfRows(),
    fits: { answer: async () => ({ text: "" }), suggest: () => [] },
    timer,
    logger,
    newId,
    newSeed: () => 1,
    access: OPEN_ACCESS,
    pace: DEFAULT_PACE,
    reasoning: "spoiler",
  });
  return {
    bot,
    calls,
    people: new People(calls, timer, logger),
    memory: new ThreadMemory(),
    claims: new MemoryEventClaims(),
    timer,
    logger,
    newId,
    botUserId: standIn.world.bot.id,
    mention: "@snug",
    teamId: standIn.world.teamId,
    admins: [],
    abilities,
    running: new Set(),
    background: new Set(),
    sessions: new Map(),
    stops: new Map(),
    messageIds: new Map(),
    homePicture: undefined,
    keep: new MemoryKeep(10),
    followThreads: true,
    download: async () => new Uint8Array(),
    upload: async (url, bytes) => void (await fetch(url, { method: "POST", body: new Blob([Buffer.from(bytes)]) })),
  };
}

async function makeHarness(
  send: (standIn: SlackStandIn) => SendCall,
  abilities: Abilities,
): Promise<ChatPlatformHarness> {
  const timer = new ManualTimer();
  const standIn = await SlackStandIn.start({ clock: timer });
  const { world } = standIn;
  const context = makeContext(send(standIn), standIn, timer, abilities);
  const ann = world.addUser("Ann");
  let channel: StandChannel = world.addChannel("none");
  let root: StandMessage | undefined;

  const messages = () => channel.messages.filter((message) => message !== root && !message.deleted);
  /** Slack shows its own Stop button under a stream of a session that works. */
  const buttons = (message: StandMessage) => {
    const session = world.sessions.find(({ threadTs }) => threadTs === message.threadTs);
    if (message.stream?.state !== "open" || session?.status !== "processing") return buttonIds(message);
    return [...context.running].map(({ stopId }) => stopId);
  };
  return {
    timer,
    async place() {
      channel = world.addChannel("general");
      root = world.addMessage(channel, ann, { text: "Go on" });
      const { teamId } = world;
      const target = { channel: channel.id, threadTs: root.ts, userId: ann.id, teamId, questionId: undefined };
      return new ThreadPlace(context, target);
    },
    // Slack shows a file as a message of its own, under the one it came with.
    shown: () =>
      messages().reduce<ShownMessage[]>((shown, message) => {
        const files = message.files.map(({ name, bytes }) => ({ name, bytes }));
        if (files.length === 0) shown.push({ text: shownText(message), buttons: buttons(message), files });
        else shown.at(-1)?.files.push(...files);
        return shown;
      }, []),
    deleteNewest() {
      messages().at(-1)!.deleted = true;
    },
    async advanceUntil(condition, what) {
      const givenUpAt = performance.now() + 20_000;
      while (!condition()) {
        if (performance.now() > givenUpAt) throw new Error(`Waited in vain for ${what}: ${standIn.recent()}`);
        await delay(2);
        const due = timer.nextDueMs();
        if (due !== undefined && due <= 2000) timer.advance(due);
      }
    },
    violations: () => standIn.violations,
    close: () => standIn.close(),
  };
}

const sends: [by: string, make: (standIn: SlackStandIn) => SendCall][] = [
  ["by Bolt's client", ({ botToken, apiUrl }) => boltCalls(botToken, apiUrl)],
  ["by fetch", ({ botToken, apiUrl }) => fetchCalls({ token: botToken, apiUrl, fetch })],
];

for (const [by, send] of sends) {
  describeChatPlatform(`A Slack thread with streams ${by}`, () =>
    makeHarness(send, { stream: true, sessions: true, status: true, replies: true }),
  );
  describeChatPlatform(`A Slack thread written by edits ${by}`, () =>
    makeHarness(send, { stream: false, sessions: false, status: false, replies: false }),
  );
}
