/**
 * Discord on loopback for the real discord.js: gateway and REST interface with the platform's clocks, limits and error
 * codes, and people who use it. Breaches of the rules are answered as Discord would and kept in `violations`.
 */
import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import type { Clock } from "../../../src/core/ports.ts";
import { Gateway } from "./gateway.ts";
import type { StandInteraction } from "./interactions.ts";
import { hidesContent, Refusal, Rest, type RestRequest, type RestState } from "./rest.ts";
import type { JsonObject } from "./rules.ts";
import {
  administrator,
  channelJson,
  fileJson,
  memberJson,
  messageJson,
  type StandChannel,
  type StandFile,
  type StandGuild,
  type StandMessage,
  type StandUser,
  userJson,
  World,
} from "./world.ts";

export interface StandInOptions {
  clock?: Clock;
  /** Privileged intents switched on in the portal; the application's flags follow. */
  messageContent?: boolean;
  limits?: Partial<RestState["limits"]>;
}

export interface NewFile {
  name: string;
  contentType?: string;
  bytes: Uint8Array | string;
}

/** A condition that stays false for this long in real time fails the test. */
const patienceMs = 20_000;

export class DiscordStandIn {
  readonly token = "MTIz.stand-in.token";
  readonly world: World;
  readonly violations: string[] = [];
  readonly rest: Rest;
  readonly gateway: Gateway;
  /** Where interactions are sent; without it they go over the gateway. */
  http: ((request: Request) => Promise<Response>) | undefined;
  /** Real milliseconds between an answer by HTTP and the reply's being known. */
  knowsLateMs = 0;
  readonly #keys = generateKeyPairSync("ed25519");
  readonly interactions = new Map<string, StandInteraction>();
  readonly applicationId: string;
  readonly #clock: Clock;
  readonly #http: Server;
  readonly #state: RestState;
  readonly #watchers = new Set<() => void>();
  #fault: (request: RestRequest) => Refusal | "hang up" | undefined = () => undefined;

  private constructor(http: Server, options: StandInOptions) {
    this.#clock = options.clock ?? { now: () => Date.now() };
    this.#http = http;
    this.world = new World(this.#clock);
    this.applicationId = this.world.bot.id;
    const changed = () => {
      for (const watcher of [...this.#watchers]) watcher();
    };
    const violation = (text: string) => void this.violations.push(text);
    this.#state = {
      world: this.world,
      clock: this.#clock,
      gateway: () => this.gateway,
      token: this.token,
      applicationId: this.applicationId,
      applicationFlags: options.messageContent === true ? 1 << 19 : 0,
      url: () => this.url,
      interactions: this.interactions,
      commands: new Map(),
      violation,
      onChange: changed,
      fault: (request) => this.#fault(request),
      losesReply: () => false,
      endpoint: undefined,
      acceptsEndpoint: (url) => !url.includes("deaf"),
      limits: {
        channel: { limit: 5, windowMs: 5000 },
        webhook: { limit: 5, windowMs: 2000 },
        other: { limit: 50, windowMs: 1000 },
        ...options.limits,
      },
      blockedWords: new Set(),
    };
    this.rest = new Rest(this.#state);
    this.gateway = new Gateway(http, this.world, {
      token: this.token,
      allowedPrivileged: options.messageContent === true ? 1 << 15 : 0,
      applicationId: this.applicationId,
      url: () => this.url.replace("http", "ws"),
      onChange: changed,
      violation,
    });
    http.on("request", (request, response) => void this.rest.handle(request, response));
  }

  static async start(options: StandInOptions = {}): Promise<DiscordStandIn> {
    const http = createServer();
    const standIn = new DiscordStandIn(http, options);
    await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
    return standIn;
  }

  async close(): Promise<void> {
    this.gateway.close();
    this.#http.closeAllConnections();
    await new Promise((resolve) => this.#http.close(resolve));
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#http.address() as AddressInfo).port}`;
  }

  /** What discord.js is given as its REST base. */
  get apiUrl(): string {
    return `${this.url}/api`;
  }

  /** Where interactions go by the application's settings. */
  get endpoint(): string | undefined {
    return this.#state.endpoint;
  }

  get blockedWords(): Set<string> {
    return this.#state.blockedWords;
  }

  commands(guildId = "global"): JsonObject[] {
    return this.#state.commands.get(guildId) ?? [];
  }

  /** For messages of failed tests. */
  recentRequests(): string[] {
    const tail = this.rest.requests.slice(-6).map((one) => `${one.method} ${one.path} ${one.status}`);
    return [...tail, ...this.violations];
  }

  /** Requests to routes that contain this text, oldest first. */
  requests(method: string, part: string): RestRequest[] {
    return this.rest.requests.filter((request) => request.method === method && request.route.includes(part));
  }

  /** Refuses matching requests, `times` of them. */
  refuse(match: (request: RestRequest) => boolean, refusal: Refusal | "hang up", times = 1): void {
    let left = times;
    const before = this.#fault;
    this.#fault = (request) => {
      if (left > 0 && match(request)) {
        left--;
        return refusal;
      }
      return before(request);
    };
  }

  /** Takes the next matching request but breaks the connection instead of answering it. */
  loseReply(match: (request: RestRequest) => boolean): void {
    let left = 1;
    const before = this.#state.losesReply;
    this.#state.losesReply = (request) => {
      if (left === 0 || !match(request)) return before(request);
      left--;
      return true;
    };
  }

  /** Resolves when the condition holds; looked at again after every request and connection change, and now and then. */
  async until<Value>(condition: () => Value | undefined | false, what: string): Promise<Value> {
    const first = condition();
    if (first !== undefined && first !== false) return first;
    return await new Promise<Value>((resolve, reject) => {
      const over = () => {
        clearTimeout(timeout);
        clearInterval(glances);
        this.#watchers.delete(look);
      };
      const timeout = setTimeout(() => {
        over();
        reject(new Error(`Waited in vain for ${what}; ${this.recentRequests().join("\n")}`));
      }, patienceMs);
      const look = () => {
        try {
          const value = condition();
          if (value === undefined || value === false) return;
          resolve(value);
        } catch (thrown) {
          reject(thrown);
        }
        over();
      };
      // What the bot does by itself makes no request.
      const glances = setInterval(look, 20);
      this.#watchers.add(look);
    });
  }

  // People and what they do.

  say(
    user: StandUser,
    channel: StandChannel,
    content: string,
    more: { repliesTo?: StandMessage; files?: NewFile[]; pings?: boolean } = {},
  ): StandMessage {
    const repliesTo = more.repliesTo;
    const mentions = [...content.matchAll(/<@(\d+)>/g)].map((match) => match[1]!);
    if (repliesTo !== undefined && more.pings !== false) mentions.push(repliesTo.author.id);
    const at = this.#clock.now();
    const message: StandMessage = {
      id: this.world.newId(),
      channelId: channel.id,
      author: user,
      content,
      components: [],
      attachments: (more.files ?? []).map((file) => this.#upload(file)),
      flags: 0,
      at,
      mentions: [...new Set(mentions)],
      versions: [{ content, at }],
      deleted: false,
      ...(repliesTo === undefined ? {} : { repliesTo: repliesTo.id }),
    };
    channel.messages.push(message);
    this.gateway.dispatch("MESSAGE_CREATE", this.#messageEvent(message, user, channel));
    return message;
  }

  mention(user: StandUser, channel: StandChannel, text: string, files: NewFile[] = []): StandMessage {
    return this.say(user, channel, `<@${this.world.bot.id}> ${text}`, { files });
  }

  delete(message: StandMessage): void {
    message.deleted = true;
    const guildId = this.world.channel(message.channelId)?.guildId;
    const place = guildId === undefined ? {} : { guild_id: guildId };
    this.gateway.dispatch("MESSAGE_DELETE", { id: message.id, channel_id: message.channelId, ...place });
  }

  /** Runs a command and waits until it is acknowledged. */
  async slash(
    user: StandUser,
    channel: StandChannel,
    name: string,
    options: Record<string, string | boolean | NewFile> = {},
    more: { userInstalledOnly?: boolean; unseen?: boolean } = {},
  ): Promise<StandInteraction> {
    const interaction = this.sendCommand(user, channel, name, options, more);
    await this.until(() => interaction.ackType !== undefined, `the acknowledgement of /${name}`);
    return interaction;
  }

  /** Runs a command without waiting. `unseen` uses one that the person's client would not offer. */
  sendCommand(
    user: StandUser,
    channel: StandChannel,
    name: string,
    options: Record<string, string | boolean | NewFile> = {},
    more: { userInstalledOnly?: boolean; unseen?: boolean } = {},
  ): StandInteraction {
    const command = this.#registered(name, 1, user, channel, more.unseen === true);
    const attachments: Record<string, JsonObject> = {};
    const given = Object.entries(options).map(([key, value]) => {
      const spec = (command.options as JsonObject[]).find((one) => one.name === key);
      if (spec === undefined) throw new Error(`/${name} has no option ${key}`);
      if (typeof value !== "object") return { name: key, type: spec.type, value };
      const file = this.#upload(value);
      attachments[file.id] = fileJson(file, this.url);
      return { name: key, type: spec.type, value: file.id };
    });
    const data = { id: command.id, name, type: 1, options: given, resolved: { attachments } };
    return this.#interact(user, channel, 2, data, { name, userInstalledOnly: more.userInstalledOnly === true });
  }

  /** What the person is offered while typing an option. */
  async typing(user: StandUser, channel: StandChannel, name: string, option: string, value: string): Promise<string[]> {
    const command = this.#registered(name, 1, user, channel, false);
    const data = { id: command.id, name, type: 1, options: [{ name: option, type: 3, value, focused: true }] };
    const interaction = this.#interact(user, channel, 4, data);
    const choices = await this.until(() => interaction.choices, `choices for ${value}`);
    return choices.map((choice) => choice.name);
  }

  /** Presses the button whose id starts with this word, and waits for the acknowledgement. */
  async press(user: StandUser, message: StandMessage, verb: string): Promise<StandInteraction> {
    const buttons = message.components.flatMap((row) => row.components as JsonObject[]);
    const button = buttons.find((one) => String(one.custom_id).startsWith(`${verb}:`));
    if (button === undefined) throw new Error(`There is no button ${verb} on: ${JSON.stringify(buttons)}`);
    const data = { custom_id: button.custom_id, component_type: 2, id: 1 };
    const channel = this.world.channel(message.channelId)!;
    const interaction = this.#interact(user, channel, 3, data, { source: message });
    await this.until(() => interaction.ackType !== undefined, `the acknowledgement of ${verb}`);
    return interaction;
  }

  /** Chooses an entry of a message's menu. */
  async menu(user: StandUser, message: StandMessage, name: string): Promise<StandInteraction> {
    const channel = this.world.channel(message.channelId)!;
    const command = this.#registered(name, 3, user, channel, false);
    // The target's text is shown whatever the intents are.
    const messages = { [message.id]: messageJson(message, this.world, this.url) };
    const data = { id: command.id, name, type: 3, target_id: message.id, resolved: { messages } };
    const interaction = this.#interact(user, channel, 2, data, { name });
    await this.until(() => interaction.ackType !== undefined, `the acknowledgement of ${name}`);
    return interaction;
  }

  /** Sends the form that an interaction opened. */
  async submit(form: StandInteraction, fields: Record<string, string>): Promise<StandInteraction> {
    const components = Object.entries(fields).map(([custom_id, value], index) => ({
      type: 18,
      id: index * 2 + 1,
      component: { type: 4, id: index * 2 + 2, custom_id, value },
    }));
    const data = { custom_id: form.modal!.custom_id, components };
    const interaction = this.#interact(form.user, form.channel, 5, data);
    await this.until(() => interaction.ackType !== undefined, "the acknowledgement of a form");
    return interaction;
  }

  /** An interaction as it stands after its acknowledgement, for tests of what comes then. */
  acknowledged(user: StandUser, channel: StandChannel, ackType: 5 | 6): StandInteraction {
    const interaction = this.#interact(user, channel, 2, { id: "0", name: "test", type: 1 });
    interaction.ackType = ackType;
    interaction.originalPending = ackType === 5;
    return interaction;
  }

  #registered(name: string, type: number, user: StandUser, channel: StandChannel, unseen: boolean): JsonObject {
    const all = [...this.commands(), ...(channel.guildId === undefined ? [] : this.commands(channel.guildId))];
    const command = all.find((one) => one.name === name && one.type === type);
    if (command === undefined) throw new Error(`No command ${name} is registered`);
    const needed = command.default_member_permissions;
    const isAdmin = (user.permissions & administrator) !== 0n;
    const may =
      needed === null || needed === undefined || isAdmin || (user.permissions & BigInt(String(needed))) !== 0n;
    const hidden = channel.guildId !== undefined && (needed === "0" ? !isAdmin : !may);
    if (hidden && !unseen) throw new Error(`${user.name} is not offered ${name}`);
    return command;
  }

  #interact(
    user: StandUser,
    channel: StandChannel,
    type: number,
    data: JsonObject,
    more: Partial<StandInteraction> = {},
  ): StandInteraction {
    const interaction: StandInteraction = {
      id: this.world.newId(),
      token: `token-${this.interactions.size + 1}`,
      user,
      channel,
      createdAt: this.#clock.now(),
      ephemeral: false,
      originalPending: false,
      followUps: [],
      userInstalledOnly: false,
      ...more,
    };
    this.interactions.set(interaction.id, interaction);
    const guild = this.world.guildOf(channel);
    const owners = interaction.userInstalledOnly || guild === undefined ? { "1": user.id } : { "0": guild.id };
    const person =
      guild === undefined
        ? { user: userJson(user) }
        : { member: { ...memberJson(user), user: userJson(user), permissions: user.permissions.toString() } };
    const payload: JsonObject = {
      id: interaction.id,
      application_id: this.applicationId,
      type,
      token: interaction.token,
      version: 1,
      channel_id: channel.id,
      channel: channelJson(channel),
      ...person,
      ...(guild === undefined ? {} : { guild_id: guild.id, guild_locale: guild.locale }),
      locale: user.locale,
      app_permissions: "0",
      entitlements: [],
      authorizing_integration_owners: owners,
      context: guild === undefined ? 1 : 0,
      attachment_size_limit: 10_485_760,
      data,
      ...(interaction.source === undefined ? {} : { message: messageJson(interaction.source, this.world, this.url) }),
    };
    interaction.payload = payload;
    if (this.http === undefined) this.gateway.dispatch("INTERACTION_CREATE", payload);
    else void this.#sendByHttp(interaction, this.http);
    return interaction;
  }

  async #sendByHttp(interaction: StandInteraction, http: (request: Request) => Promise<Response>): Promise<void> {
    const response = await http(this.signed(interaction.payload ?? {}));
    if (response.status !== 200) {
      this.violations.push(`an interaction was answered ${response.status} ${await response.text()}`);
      return;
    }
    const answer = (await response.json()) as JsonObject;
    // Discord knows the reply only a moment after it read the answer.
    if (this.knowsLateMs > 0) await delay(this.knowsLateMs);
    this.rest.acknowledge(interaction, answer);
  }

  /** The application's key as the portal shows it. */
  get publicKey(): string {
    return this.#keys.publicKey.export({ format: "der", type: "spki" }).subarray(-32).toString("hex");
  }

  /** A request as Discord signs it. */
  signed(payload: JsonObject, more: { offsetMs?: number; body?: string; by?: KeyObject } = {}): Request {
    const body = more.body ?? JSON.stringify(payload);
    const timestamp = String(Math.floor((this.#clock.now() + (more.offsetMs ?? 0)) / 1000));
    const signature = sign(null, Buffer.from(timestamp + body), more.by ?? this.#keys.privateKey).toString("hex");
    return new Request("http://127.0.0.1/discord/interactions", {
      method: "POST",
      body,
      headers: {
        "content-type": "application/json",
        "x-signature-ed25519": signature,
        "x-signature-timestamp": timestamp,
      },
    });
  }

  #messageEvent(message: StandMessage, user: StandUser, channel: StandChannel): JsonObject {
    const receiver = { world: this.world, gateway: () => this.gateway };
    const event = messageJson(message, this.world, this.url, (one) => hidesContent(one, receiver));
    if (channel.guildId === undefined) return { ...event, channel_type: 1 };
    return { ...event, guild_id: channel.guildId, member: memberJson(user) };
  }

  #upload({ name, contentType = "text/plain", bytes }: NewFile): StandFile {
    const content = typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;
    const file: StandFile = { id: this.world.newId(), name, contentType, bytes: content };
    this.world.files.push(file);
    return file;
  }
}

/** A message's text without the small print, for assertions on what was answered. */
export function answerOf(message: StandMessage | undefined): string {
  return (message?.content ?? "").replace(/\n?-# .*$/s, "").trim();
}

export function buttonsOf(message: StandMessage): string[] {
  return message.components.flatMap((row) =>
    (row.components as JsonObject[]).map((one) => String(one.custom_id).split(":")[0]!),
  );
}

export type { StandGuild };
export { Refusal };
