/** What exists on the stand-in: people, channels, messages. Plain data. */
import type { Clock } from "../../../src/core/ports.ts";

export type JsonObject = Record<string, unknown>;
export type Block = JsonObject & { type: string };

export interface StandUser {
  id: string;
  name: string;
  /** Language of the person's client. */
  locale: string;
  isAdmin: boolean;
  isBot: boolean;
}

export interface StandMessage {
  ts: string;
  channel: StandChannel;
  user: StandUser;
  text: string;
  blocks: Block[];
  threadTs?: string;
  files: StandFile[];
  at: number;
  /** Texts it showed, oldest first, with when. */
  versions: { text: string; at: number }[];
  /** Present once it was streamed. */
  stream?: { state: "open" | "stopped" | "stopped_by_user"; text: string; recipient?: string };
  /** Shown to this person alone. */
  ephemeralFor?: string;
  deleted: boolean;
}

export interface StandFile {
  id: string;
  name: string;
  mimetype: string;
  bytes: Uint8Array;
  altText?: string;
  /** Views that named it so far. */
  looks?: number;
}

export interface StandChannel {
  id: string;
  kind: "channel" | "group" | "im";
  name: string;
  /** The bot is in it. */
  botIsMember: boolean;
  archived: boolean;
  /** Other side of a direct conversation. */
  person?: StandUser;
  messages: StandMessage[];
}

export interface StandSession {
  channel: string;
  threadTs: string;
  status: string;
}

export class World {
  readonly teamId: string;
  readonly appId = "A0SNUG";
  readonly #clock: Clock;
  #count = 0;
  #lastTs = 0;
  readonly users: StandUser[] = [];
  readonly channels: StandChannel[] = [];
  readonly bot: StandUser;
  readonly sessions: StandSession[] = [];
  /** Status lines by "channel thread". */
  readonly statuses = new Map<string, string>();
  /** Every status line ever shown. */
  readonly statusHistory: string[] = [];
  readonly files: StandFile[] = [];
  /** Views that may not show a new picture yet, since it is still looked at. */
  picturesTakeLooks = 0;
  readonly homes = new Map<string, Block[]>();
  readonly prompts: JsonObject[] = [];
  readonly views: JsonObject[] = [];

  constructor(clock: Clock, teamId = "T0LAB") {
    this.#clock = clock;
    this.teamId = teamId;
    this.bot = this.addUser("snug", { isBot: true });
  }

  newId(prefix: string): string {
    this.#count++;
    return `${prefix}0${this.#count.toString(36).toUpperCase().padStart(6, "0")}`;
  }

  /** Seconds with six decimals; later ones are greater. */
  newTs(): string {
    const micros = Math.max(this.#lastTs + 1, Math.floor(this.#clock.now() * 1000));
    this.#lastTs = micros;
    return `${Math.floor(micros / 1e6)}.${String(micros % 1e6).padStart(6, "0")}`;
  }

  addUser(name: string, more: Partial<StandUser> = {}): StandUser {
    const user = { id: this.newId("U"), name, locale: "en-US", isAdmin: false, isBot: false, ...more };
    this.users.push(user);
    return user;
  }

  addChannel(name: string, more: Partial<StandChannel> = {}): StandChannel {
    const channel: StandChannel = {
      id: this.newId("C"),
      kind: "channel",
      name,
      botIsMember: true,
      archived: false,
      messages: [],
      ...more,
    };
    this.channels.push(channel);
    return channel;
  }

  direct(person: StandUser): StandChannel {
    const known = this.channels.find((channel) => channel.person?.id === person.id);
    return known ?? this.addChannel(person.name, { id: this.newId("D"), kind: "im", person });
  }

  channel(id: unknown): StandChannel | undefined {
    return this.channels.find((channel) => channel.id === id);
  }

  user(id: unknown): StandUser | undefined {
    return this.users.find((user) => user.id === id);
  }

  message(channel: unknown, ts: unknown): StandMessage | undefined {
    return this.channel(channel)?.messages.find((message) => message.ts === ts && !message.deleted);
  }

  addMessage(
    channel: StandChannel,
    user: StandUser,
    parts: Partial<Omit<StandMessage, "channel" | "user">>,
  ): StandMessage {
    const message: StandMessage = {
      ts: this.newTs(),
      channel,
      user,
      text: "",
      blocks: [],
      files: [],
      at: this.#clock.now(),
      versions: [],
      deleted: false,
      ...parts,
    };
    message.versions.push({ text: shownText(message), at: this.#clock.now() });
    channel.messages.push(message);
    return message;
  }
}

/** What a reader sees: the streamed text and the text of every block, one after the other. */
export function shownText(message: Pick<StandMessage, "blocks" | "stream" | "text">): string {
  const parts = [message.stream?.text ?? "", ...message.blocks.map(blockText)].filter((part) => part !== "");
  return parts.length === 0 ? message.text : parts.join("\n");
}

export function blockText(block: Block): string {
  if (block.type === "markdown") return String(block.text);
  if (block.type === "section" || block.type === "header") return String((block.text as JsonObject).text);
  if (block.type !== "context") return "";
  return (block.elements as JsonObject[]).map((element) => String(element.text)).join(" ");
}

/** Ids of the buttons of a message, feedback included, in the order they stand. */
export function buttonIds(message: Pick<StandMessage, "blocks">): string[] {
  return message.blocks.flatMap((block) => {
    if (block.type !== "actions" && block.type !== "context_actions") return [];
    return (block.elements as JsonObject[]).flatMap((element) =>
      element.type === "feedback_buttons"
        ? [element.positive_button, element.negative_button].map((button) => String((button as JsonObject).value))
        : [String(element.value)],
    );
  });
}

/** "again", "up" … without the answer they belong to. */
export function verbsOf(message: Pick<StandMessage, "blocks">): string[] {
  return buttonIds(message).map((id) => id.split(":")[0]!);
}
