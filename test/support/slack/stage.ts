/** A stand-in, a bot on it with a scripted engine, a workspace with three people, and a clock that the test moves. */
import { setTimeout as delay } from "node:timers/promises";
import { OPEN_ACCESS } from "../../../src/bots/access.ts";
import { ChatBot, type ChatBotOptions } from "../../../src/bots/bot.ts";
import { DEFAULT_PACE } from "../../../src/bots/pace.ts";
import { type SlackBot, type SlackOptions, startSlack } from "../../../src/bots/slack/start.ts";
import type {} from "../../../src/core/ports.ts";
import { FakeEngine } from "../fake-engine.ts";
import { ManualTimer } from "../manual-timer.ts";
import { MemoryBotState } from "../memory-bot-state.ts";
import { MemoryEventClaims } from "../memory-event-claims.ts";
import { MemoryLogger } from "../memory-logger.ts";
import { usageOfRows } from "../usage-rows.ts";
import { SlackStandIn, type StandCommand, type StandInOptions } from "./stand-in.ts";
import { type StandChannel, type StandMessage, type StandUser, verbsOf } from "./world.ts";

export interface StageOptions {
  engine?: (timer: ManualTimer) => FakeEngine;
  bot?: Partial<ChatBotOptions>;
  slack?: Partial<SlackOptions>;
  standIn?: StandInOptions;
  by?: "socket" | "http";
  /** Before the bot comes online. */
  prepare?: (standIn: SlackStandIn) => void;
  offline?: boolean;
}

export class Stage {
  readonly standIn: SlackStandIn;
  readonly timer: ManualTimer;
  readonly engine: FakeEngine;
  readonly state = new MemoryBotState();
  readonly logger = new MemoryLogger();
  readonly channel: StandChannel;
  readonly ann: StandUser;
  readonly bob: StandUser;
  readonly admin: StandUser;
  bot: ChatBot;
  online: SlackBot | undefined;
  readonly slackOptions: SlackOptions;
  readonly #newBot: () => ChatBot;

  private constructor(standIn: SlackStandIn, timer: ManualTimer, options: StageOptions) {
    this.standIn = standIn;
    this.timer = timer;
    // Without a context length nothing but the test ends an endless answer.
    const models = [{ id: "fake", quantization: "F16", loaded: true }];
    this.engine = options.engine?.(timer) ?? new FakeEngine({ clock: timer, models });
    const { world } = standIn;
    this.channel = world.addChannel("general");
    this.ann = world.addUser("Ann");
    this.bob = world.addUser("Bob");
    this.admin = world.addUser("Ada", { isAdmin: true });
    let ids = 0;
    const newId = () => `r${++ids}`;
    const botOptions: ChatBotOptions = {
      engine: this.engine,
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
      ...options.bot,
    };
    this.#newBot = () => new ChatBot(botOptions);
    this.bot = this.#newBot();
    this.slackOptions = {
      botToken: standIn.botToken,
      receive:
        options.by === "http"
          ? { by: "http", signingSecret: standIn.signingSecret }
          : { by: "socket", appToken: standIn.appToken },
      bot: this.bot,
      claims: new MemoryEventClaims(),
      timer,
      logger: this.logger,
      newId,
      admins: [],
      followThreads: true,
      apiUrl: standIn.apiUrl,
      reconnectMs: 200,
      ...options.slack,
    };
  }

  static async open(options: StageOptions = {}): Promise<Stage> {
    const timer = new ManualTimer();
    const standIn = await SlackStandIn.start({ clock: timer, ...options.standIn });
    const stage = new Stage(standIn, timer, options);
    options.prepare?.(standIn);
    if (options.offline !== true) await stage.connect();
    return stage;
  }

  async connect(): Promise<void> {
    this.online = await startSlack(this.slackOptions);
    this.standIn.http = this.online.fetch;
  }

  /** The program ends and starts again; Slack and what is stored stay. */
  async restart(): Promise<void> {
    await this.online?.stop(0);
    this.bot = this.#newBot();
    this.slackOptions.bot = this.bot;
    await this.connect();
  }

  async close(): Promise<void> {
    const stopped = this.online?.stop(0);
    await this.until(() => this.bot.runningCount === 0, "the last answers to end");
    await stopped;
    this.standIn.checkAcknowledged();
    await this.standIn.close();
  }

  /** Moves the clock from one due write to the next until the condition holds; long waits are for tests to pass. */
  async until<Value>(condition: () => Value | undefined | false, what: string, stepMsMax = 2_000): Promise<Value> {
    const givenUpAt = performance.now() + 20_000;
    for (;;) {
      const value = condition();
      if (value !== undefined && value !== false) return value;
      if (performance.now() > givenUpAt) {
        const log = this.logger.lines.slice(-4).map((line) => JSON.stringify(line));
        throw new Error(`Waited in vain for ${what}; ${[...this.standIn.recent(), ...log].join("\n")}`);
      }
      // Requests on their way get time to arrive before the clock moves on.
      await delay(2);
      const due = this.timer.nextDueMs();
      if (due !== undefined && due <= stepMsMax) this.timer.advance(due);
    }
  }

  /** Long enough for everything under way to arrive, without moving the clock. */
  async quiet(): Promise<void> {
    let count = -1;
    for (let same = 0; same < 6; same = count === this.#activity() ? same + 1 : 0) {
      count = this.#activity();
      await delay(5);
    }
  }

  #activity(): number {
    return this.standIn.api.requests.length + this.logger.lines.length;
  }

  /** The bot's messages in a channel that are there, roots and control messages included. */
  said(channel: StandChannel = this.channel): StandMessage[] {
    return channel.messages.filter(({ user, deleted }) => user.isBot && !deleted);
  }

  /** The bot's messages in threads. */
  answers(channel: StandChannel = this.channel): StandMessage[] {
    return this.said(channel).filter(({ threadTs, files }) => threadTs !== undefined && files.length === 0);
  }

  /** The newest answer once it is written. */
  async answered(count = 1, channel: StandChannel = this.channel): Promise<StandMessage> {
    return await this.until(() => {
      const answers = this.answers(channel);
      const last = answers.at(-1);
      const open = answers.some((one) => one.stream?.state === "open" || verbsOf(one).includes("stop"));
      return answers.length >= count && this.bot.runningCount === 0 && !open && last;
    }, `answer ${count}`);
  }

  /** The whole of /ask: acknowledgement, root message, answer. */
  async ask(user: StandUser, text: string): Promise<{ command: StandCommand; answer: StandMessage }> {
    const before = this.answers().length;
    const command = await this.standIn.slash(user, this.channel, "/ask", text);
    return { command, answer: await this.answered(before + 1) };
  }

  mention(text: string): string {
    return `<@${this.standIn.world.bot.id}> ${text}`;
  }
}
