/** A chat platform in memory: places that keep what was written, with faults on demand and small limits. */
import { ChatPlatformError, type ChatPlatformErrorReason } from "../../src/bots/platform-error.ts";
import type {
  ChatButton,
  ChatFile,
  ChatPlace,
  ChatPlatform,
  ChatPost,
  Clock,
  PostedMessage,
} from "../../src/core/ports.ts";

export const fakePlatform: ChatPlatform = {
  name: "slack",
  limits: { messageCharsMax: 1000, fileBytesMax: 100_000, editIntervalMsMin: 1000, buttonsPerMessageMax: 5 },
  markup: {
    quote: (text) => `> ${text}`,
    subtext: (text) => `_${text}_`,
    spoiler: (text) => `(${text})`,
    person: (userId) => `@${userId}`,
  },
  commands: { localized: false, fields: false, followUps: "threads" },
};

export interface FakeMessage {
  id: string;
  text: string;
  buttons: readonly ChatButton[];
  files: ChatFile[];
  deleted: boolean;
  /** Texts it had, with the time of each write. */
  versions: { text: string; at: number }[];
}

export class FakePlace implements ChatPlace {
  readonly platform: ChatPlatform;
  readonly messages: FakeMessage[] = [];
  readonly expiresAt?: number;
  /** Reasons the next writes fail with, in turn. */
  readonly faults: ChatPlatformErrorReason[] = [];
  typingCount = 0;
  readonly #clock: Clock;
  readonly #next: FakePlace | undefined;

  constructor(clock: Clock, more: { platform?: ChatPlatform; expiresAt?: number; next?: FakePlace } = {}) {
    this.#clock = clock;
    this.platform = more.platform ?? fakePlatform;
    this.#next = more.next;
    if (more.expiresAt !== undefined) this.expiresAt = more.expiresAt;
  }

  async successor(): Promise<ChatPlace | undefined> {
    return this.#next;
  }

  async typing(): Promise<void> {
    this.typingCount++;
  }

  async post(post: ChatPost): Promise<PostedMessage> {
    this.#check(post);
    const message: FakeMessage = {
      id: `m${this.messages.length + 1}`,
      text: post.text,
      buttons: post.buttons ?? [],
      files: [...(post.files ?? [])],
      deleted: false,
      versions: [{ text: post.text, at: this.#clock.now() }],
    };
    this.messages.push(message);
    return {
      id: message.id,
      edit: async (change) => this.#edit(message, change),
      delete: async () => {
        this.#check({ text: "-" });
        if (message.deleted) throw new ChatPlatformError("gone", "deleted");
        message.deleted = true;
      },
    };
  }

  #edit(message: FakeMessage, change: ChatPost): void {
    this.#check(change);
    if (message.deleted) throw new ChatPlatformError("gone", "deleted");
    message.text = change.text;
    message.buttons = change.buttons ?? message.buttons;
    message.files.push(...(change.files ?? []));
    message.versions.push({ text: change.text, at: this.#clock.now() });
  }

  #check({ text, buttons = [] }: ChatPost): void {
    const fault = this.faults.shift();
    if (fault !== undefined) throw new ChatPlatformError(fault, `refused: ${fault}`);
    if (this.expiresAt !== undefined && this.#clock.now() > this.expiresAt)
      throw new ChatPlatformError("expired", "late");
    const { messageCharsMax, buttonsPerMessageMax } = this.platform.limits;
    if (text.trim() === "" || text.length > messageCharsMax || buttons.length > buttonsPerMessageMax) {
      throw new ChatPlatformError("invalid", `a message of ${text.length} characters`);
    }
  }
}
