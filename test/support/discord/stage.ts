/** A stand-in, a bot on it with a scripted engine, one server with two people, and a clock that the test moves. */
import { setTimeout as delay } from "node:timers/promises";
import { OPEN_ACCESS } from "../../../src/bots/access.ts";
import { ChatBot, type ChatBotOptions } from "../../../src/bots/bot.ts";
import { createDiscordEndpoint } from "../../../src/bots/discord/endpoint.ts";
import { reactOnce } from "../../../src/bots/discord/http-interactions.ts";
import {
  type DiscordBot,
  type DiscordOptions,
  registerDiscord,
  startDiscord,
} from "../../../src/bots/discord/start.ts";
import { MemoryKeep } from "../../../src/bots/keep.ts";
import { keepAnswer } from "../../../src/bots/kept-answers.ts";
import { DEFAULT_PACE } from "../../../src/bots/pace.ts";
import type { ChatEngine } from "../../../src/core/ports.ts";
import { createInteractionContext } from "../../../src/entries/discord-interactions.ts";
import { FakeEngine } from "../fake-engine.ts";
import { ManualTimer } from "../manual-timer.ts";
import { MemoryBotState } from "../memory-bot-state.ts";
import { MemoryEventClaims } from "../memory-event-claims.ts";
import { MemoryLogger } from "../memory-logger.ts";
import { usageOfRows } from "../usage-rows.ts";
import type { StandInteraction } from "./interactions.ts";
import { buttonsOf, DiscordStandIn, type StandInOptions } from "./stand-in.ts";
import { administrator, type StandChannel, type StandGuild, type StandMessage, type StandUser } from "./world.ts";

/** How interactions reach the bot. */
export const ways = ["gateway", "http"] as const;

export interface StageOptions<Engine extends ChatEngine> {
  engine?: (timer: ManualTimer) => Engine;
  bot?: Partial<ChatBotOptions>;
  discord?: Partial<DiscordOptions>;
  standIn?: StandInOptions;
  /** How interactions come; by HTTP there is no gateway. */
  by?: (typeof ways)[number];
  /** Leaves the bot off line. */
  offline?: boolean;
}

export class Stage<Engine extends ChatEngine = FakeEngine> {
  readonly standIn: DiscordStandIn;
  readonly timer: ManualTimer;
  readonly engine: Engine;
  readonly state: MemoryBotState;
  readonly logger: MemoryLogger;
  bot: ChatBot;
  readonly guild: StandGuild;
  readonly channel: StandChannel;
  readonly ann: StandUser;
  readonly bob: StandUser;
  readonly admin: StandUser;
  online: DiscordBot | undefined;
  readonly #discord: DiscordOptions;
  readonly #newBot: () => ChatBot;
  readonly #by: (typeof ways)[number];
  /** What outlives a restart where interactions come by HTTP. */
  readonly keep = new MemoryKeep(1000);
  readonly claims = new MemoryEventClaims();

  private constructor(standIn: DiscordStandIn, timer: ManualTimer, engine: Engine, options: StageOptions<Engine>) {
    this.standIn = standIn;
    this.timer = timer;
    this.engine = engine;
    this.state = new MemoryBotState();
    this.logger = new MemoryLogger();
    const { world } = standIn;
    this.guild = world.addGuild("Lab");
    this.channel = world.addChannel(this.guild, "general");
    this.ann = world.addUser("Ann");
    this.bob = world.addUser("Bob");
    this.admin = world.addUser("Ada", { permissions: administrator });
    let ids = 0;
    const newId = () => `r${++ids}`;
    const botOptions: ChatBotOptions = {
      engine,
      state: this.state,
      usage: usageOfRows(),
      fits: { answer: async (query) => ({ text: `fits ${query}` }), suggest: () => [] },
      timer,
      logger: this.logger,
      newId,
      newSeed: () => 7,
      access: OPEN_ACCESS,
      pace: DEFAULT_PACE,
      reasoning: "spoiler",
      ...(options.by === "http" ? { onEnded: (record) => void keepAnswer(record, this.keep) } : {}),
      ...options.bot,
    };
    this.#by = options.by ?? "gateway";
    this.#newBot = () => new ChatBot(botOptions);
    this.bot = this.#newBot();
    this.#discord = {
      token: standIn.token,
      bot: this.bot,
      clock: timer,
      logger: this.logger,
      newId,
      apiUrl: standIn.apiUrl,
      register: true,
      admins: [],
      followThreads: "auto",
      answerIn: "channel",
      ...options.discord,
    };
  }

  /** With an engine of its own the default fake engine is not made. */
  static async open<Engine extends ChatEngine>(
    options: StageOptions<Engine> & { engine: (timer: ManualTimer) => Engine },
  ): Promise<Stage<Engine>>;
  static async open(options?: StageOptions<FakeEngine>): Promise<Stage<FakeEngine>>;
  static async open(options: StageOptions<ChatEngine> = {}): Promise<Stage<ChatEngine>> {
    const timer = new ManualTimer();
    const standIn = await DiscordStandIn.start({ clock: timer, ...options.standIn });
    // Without a context length nothing but the test ends an endless answer.
    const models = [{ id: "fake", quantization: "F16", loaded: true }];
    const engine = options.engine?.(timer) ?? new FakeEngine({ clock: timer, models });
    const stage = new Stage(standIn, timer, engine, options);
    if (options.offline !== true) await stage.connect();
    return stage;
  }

  /** What the bot connects with. */
  get discordOptions(): DiscordOptions {
    return this.#discord;
  }

  async connect(): Promise<DiscordBot | undefined> {
    if (this.#by === "http") await this.#openEndpoint();
    else this.online = await startDiscord(this.#discord);
    return this.online;
  }

  async #openEndpoint(): Promise<void> {
    const { standIn, bot, timer, logger, claims, keep } = this;
    const { token, apiUrl, admins, newId } = this.#discord;
    await registerDiscord({ token, commands: bot.commands, ...(apiUrl === undefined ? {} : { apiUrl }) });
    const context = createInteractionContext({
      settings: { token, apiUrl, admins: [...admins] },
      ...{ bot, claims, keep, timer, logger, newId },
    });
    standIn.http = createDiscordEndpoint({
      publicKey: standIn.publicKey,
      clock: timer,
      logger,
      take: async (interaction, receivedAt) => {
        const reaction = await reactOnce(interaction, receivedAt, context);
        void reaction?.later?.();
        return reaction?.response;
      },
    });
  }

  /** The program ends and starts again; Discord and what is stored stay. */
  async restart(): Promise<void> {
    await (this.online?.stop(0) ?? this.bot.drain(0));
    this.bot = this.#newBot();
    this.#discord.bot = this.bot;
    await this.connect();
  }

  async close(): Promise<void> {
    const stopped = this.online?.stop(0) ?? this.bot.drain(0);
    await this.advanceUntil(() => this.bot.runningCount === 0, "the last answers to end");
    await stopped;
    await this.standIn.close();
  }

  /**
   * Moves the clock from one due write to the next until the condition holds. Only short waits are skipped: the long
   * ones (reply tokens) are for tests to pass on purpose.
   */
  async advanceUntil<Value>(
    condition: () => Value | undefined | false,
    what: string,
    stepMsMax = 2000,
  ): Promise<Value> {
    const givenUpAt = performance.now() + 20_000;
    for (;;) {
      const value = condition();
      if (value !== undefined && value !== false) return value;
      if (performance.now() > givenUpAt) {
        const log = this.logger.lines.slice(-4).map((line) => JSON.stringify(line));
        throw new Error(`Waited in vain for ${what}; ${[...this.standIn.recentRequests(), ...log].join("\n")}`);
      }
      // Requests on their way get time to arrive before the clock moves on.
      await delay(2);
      const due = this.timer.nextDueMs();
      if (due !== undefined && due <= stepMsMax) this.timer.advance(due);
    }
  }

  /** Until every answer is written. */
  async settled(): Promise<void> {
    await this.advanceUntil(() => this.bot.runningCount === 0, "all answers to end");
  }

  /** Until this message is there and no longer being written. */
  async answered(
    message: () => StandMessage | undefined,
    what = "an answer",
    stepMsMax?: number,
  ): Promise<StandMessage> {
    return await this.advanceUntil(
      () => {
        const found = message();
        return found !== undefined && this.bot.runningCount === 0 && !buttonsOf(found).includes("stop") && found;
      },
      what,
      stepMsMax,
    );
  }

  /** The whole of /ask: question, acknowledgement, last edit. */
  async ask(
    user: StandUser,
    prompt: string,
    options: Record<string, string | boolean> = {},
  ): Promise<StandInteraction> {
    const interaction = await this.standIn.slash(user, this.channel, "ask", { prompt, ...options });
    await this.answered(() => interaction.original);
    return interaction;
  }

  /** The bot's messages in a channel that are still there. */
  said(channel: StandChannel = this.channel): StandMessage[] {
    return channel.messages.filter((message) => message.author.bot && !message.deleted);
  }
}
