/** The Web API of the stand-in: arguments, tiers, limits and states as Slack keeps them. */
import type { Clock } from "../../../src/core/ports.ts";
import { checkBlocks, checkManners } from "./rules.ts";
import { type Block, type JsonObject, type StandChannel, type StandMessage, shownText, type World } from "./world.ts";

export interface ApiRequest {
  method: string;
  args: JsonObject;
  at: number;
  /** What it was answered: "ok" or Slack's error name. */
  result: string;
}

export interface ApiState {
  world: World;
  clock: Clock;
  botToken: string;
  appToken: string;
  url: () => string;
  /** Methods this workspace does not have. */
  missingMethods: Set<string>;
  /** Scopes were not granted for these methods. */
  missingScopes: Set<string>;
  /** Events the app subscribes to. */
  subscriptions: Set<string>;
  violation: (text: string) => void;
  triggers: Map<string, { at: number; used: boolean }>;
}

/** Ends a request with Slack's error. */
export class ApiError extends Error {
  readonly code: string;
  readonly retryAfterS: number | undefined;
  constructor(code: string, retryAfterS?: number) {
    super(code);
    this.code = code;
    this.retryAfterS = retryAfterS;
  }
}

const minute = 60_000;
const tier = (callsMax: number) => ({ callsMax, windowMs: minute });

/** Per method; chat.postMessage per channel. */
const rates: Record<string, { callsMax: number; windowMs: number }> = {
  "chat.startStream": tier(20),
  "chat.stopStream": tier(20),
  "chat.appendStream": tier(100),
  "chat.update": tier(50),
  "chat.delete": tier(50),
  "chat.postMessage": { callsMax: 5, windowMs: 5_000 },
  "chat.postEphemeral": tier(100),
  "agents.sessions.setStatus": tier(50),
  "assistant.threads.setStatus": tier(100),
  "conversations.replies": tier(50),
};

type Method = { args: Record<string, "text" | "json" | "flag" | "number">; needs: string[]; app?: true };

const message = { channel: "text", text: "text", blocks: "json", thread_ts: "text" } as const;
const manners = { unfurl_links: "flag", unfurl_media: "flag", parse: "text", link_names: "flag" } as const;

const methods: Record<string, Method> = {
  "auth.test": { args: {}, needs: [] },
  "apps.connections.open": { args: {}, needs: [], app: true },
  "chat.postMessage": { args: { ...message, ...manners }, needs: ["channel"] },
  "chat.postEphemeral": { args: { ...message, user: "text" }, needs: ["channel", "user"] },
  "chat.update": {
    args: { ...message, ts: "text", parse: "text", link_names: "flag" },
    needs: ["channel", "ts"],
  },
  "chat.delete": { args: { channel: "text", ts: "text" }, needs: ["channel", "ts"] },
  "chat.startStream": {
    args: {
      channel: "text",
      thread_ts: "text",
      markdown_text: "text",
      recipient_user_id: "text",
      recipient_team_id: "text",
    },
    needs: ["channel", "thread_ts"],
  },
  "chat.appendStream": {
    args: { channel: "text", ts: "text", markdown_text: "text" },
    needs: ["channel", "ts", "markdown_text"],
  },
  "chat.stopStream": {
    args: { channel: "text", ts: "text", markdown_text: "text", blocks: "json", session_status: "text" },
    needs: ["channel", "ts"],
  },
  "agents.sessions.setStatus": {
    args: { channel_id: "text", thread_ts: "text", status: "text", title: "text", initiator_user_id: "text" },
    needs: ["channel_id", "thread_ts", "status"],
  },
  "assistant.threads.setStatus": {
    args: { channel_id: "text", thread_ts: "text", status: "text", loading_messages: "json" },
    needs: ["channel_id", "thread_ts"],
  },
  "assistant.threads.setSuggestedPrompts": {
    args: { channel_id: "text", thread_ts: "text", prompts: "json", title: "text" },
    needs: ["channel_id", "prompts"],
  },
  "conversations.open": { args: { users: "text" }, needs: ["users"] },
  "conversations.replies": {
    args: { channel: "text", ts: "text", limit: "number" },
    needs: ["channel", "ts"],
  },
  "users.info": { args: { user: "text", include_locale: "flag" }, needs: ["user"] },
  "views.open": { args: { trigger_id: "text", view: "json" }, needs: ["trigger_id", "view"] },
  "views.publish": { args: { user_id: "text", view: "json" }, needs: ["user_id", "view"] },
  "files.getUploadURLExternal": {
    args: { filename: "text", length: "number", alt_txt: "text" },
    needs: ["filename", "length"],
  },
  "files.completeUploadExternal": {
    args: { files: "json", channel_id: "text", thread_ts: "text" },
    needs: ["files"],
  },
  "files.delete": { args: { file: "text" }, needs: ["file"] },
};

export class WebApi {
  readonly requests: ApiRequest[] = [];
  readonly #state: ApiState;
  readonly #calls = new Map<string, number[]>();
  limitedCount = 0;

  constructor(state: ApiState) {
    this.#state = state;
  }

  /** @throws ApiError as Slack would refuse */
  handle(method: string, form: URLSearchParams, token: string): JsonObject {
    const { clock, missingMethods, missingScopes, botToken, appToken } = this.#state;
    const spec = methods[method];
    if (spec === undefined || missingMethods.has(method)) throw new ApiError("unknown_method");
    if (token !== (spec.app === true ? appToken : botToken)) throw new ApiError("invalid_auth");
    if (missingScopes.has(method)) throw new ApiError("missing_scope");
    const args = this.#read(method, spec, form);
    this.requests.push({ method, args, at: clock.now(), result: "ok" });
    this.#limit(method, args);
    return { ok: true, ...this.#run(method, args) };
  }

  /** Nested values come as JSON text inside a form field, and only so. */
  #read(method: string, spec: Method, form: URLSearchParams): JsonObject {
    const args: JsonObject = {};
    for (const [name, value] of form) {
      const kind = spec.args[name];
      if (name === "token" || name === "team_id") continue;
      if (kind === undefined) {
        this.#state.violation(`${method}: the argument ${name} is not known`);
        continue;
      }
      args[name] = kind === "json" ? this.#parse(method, name, value) : value;
      if (kind === "flag") args[name] = value === "true" || value === "1";
      if (kind === "number") args[name] = Number(value);
    }
    const missing = spec.needs.filter((name) => args[name] === undefined);
    if (missing.length > 0) {
      this.#state.violation(`${method}: ${missing.join(", ")} missing`);
      throw new ApiError("invalid_arguments");
    }
    return args;
  }

  #parse(method: string, name: string, value: string): unknown {
    try {
      return JSON.parse(value);
    } catch {
      this.#state.violation(`${method}: ${name} is not JSON`);
      throw new ApiError("invalid_arguments");
    }
  }

  #limit(method: string, args: JsonObject): void {
    const rate = rates[method];
    if (rate === undefined) return;
    const key = method === "chat.postMessage" ? `${method} ${String(args.channel)}` : method;
    const now = this.#state.clock.now();
    const times = (this.#calls.get(key) ?? []).filter((time) => time > now - rate.windowMs);
    if (times.length >= rate.callsMax) {
      this.limitedCount++;
      throw new ApiError("ratelimited", Math.ceil((times[0]! + rate.windowMs - now) / 1000));
    }
    this.#calls.set(key, [...times, now]);
  }

  #run(method: string, args: JsonObject): JsonObject {
    const { world, url } = this.#state;
    switch (method) {
      case "auth.test":
        return {
          user: world.bot.name,
          user_id: world.bot.id,
          bot_id: "B0SNUG",
          team: "Lab",
          team_id: world.teamId,
        };
      case "apps.connections.open":
        return { url: `${url().replace("http", "ws")}/socket` };
      case "chat.postMessage":
        return this.#post(args);
      case "chat.postEphemeral":
        return this.#postEphemeral(args);
      case "chat.update":
        return this.#update(args);
      case "chat.delete":
        return this.#delete(args);
      case "chat.startStream":
        return this.#startStream(args);
      case "chat.appendStream":
        return this.#appendStream(args);
      case "chat.stopStream":
        return this.#stopStream(args);
      default:
        return this.#runOther(method, args);
    }
  }

  #post(args: JsonObject): JsonObject {
    const channel = this.#writable(args);
    const blocks = this.#checkContent("chat.postMessage", args, 40_000);
    if (args.unfurl_links !== false || args.unfurl_media !== false) {
      this.#state.violation("chat.postMessage: links would unfold");
    }
    const posted = this.#add(channel, args, { text: String(args.text ?? ""), blocks });
    return { channel: channel.id, ts: posted.ts };
  }

  #postEphemeral(args: JsonObject): JsonObject {
    const channel = this.#writable(args);
    const blocks = this.#checkContent("chat.postEphemeral", args, 40_000);
    const more = { text: String(args.text ?? ""), blocks, ephemeralFor: String(args.user) };
    return { message_ts: this.#add(channel, args, more).ts };
  }

  #update(args: JsonObject): JsonObject {
    const found = this.#own(args);
    if (found.stream?.state === "open") throw new ApiError("streaming_state_conflict");
    found.blocks = this.#checkContent("chat.update", args, 4_000);
    found.text = String(args.text ?? "");
    // What was streamed is replaced by what is written over it.
    if (found.stream !== undefined) found.stream.text = "";
    this.#changed(found);
    return { channel: found.channel.id, ts: found.ts };
  }

  #delete(args: JsonObject): JsonObject {
    this.#own(args).deleted = true;
    return {};
  }

  #startStream(args: JsonObject): JsonObject {
    const channel = this.#writable(args);
    if (channel.kind !== "im" && (args.recipient_user_id === undefined || args.recipient_team_id === undefined)) {
      throw new ApiError("missing_recipient_user_id");
    }
    this.#checkMarkdown("chat.startStream", args, "");
    const stream = {
      state: "open" as const,
      text: String(args.markdown_text ?? ""),
      recipient: String(args.recipient_user_id ?? ""),
    };
    return { channel: channel.id, ts: this.#add(channel, args, { stream }).ts };
  }

  #appendStream(args: JsonObject): JsonObject {
    const { message: found, stream } = this.#streamed(args);
    this.#checkMarkdown("chat.appendStream", args, stream.text);
    stream.text += String(args.markdown_text);
    this.#changed(found);
    return {};
  }

  #stopStream(args: JsonObject): JsonObject {
    const { message: found, stream } = this.#streamed(args);
    this.#checkMarkdown("chat.stopStream", args, stream.text);
    found.blocks = this.#checkContent("chat.stopStream", { ...args, text: "" }, 40_000);
    stream.text += String(args.markdown_text ?? "");
    stream.state = "stopped";
    this.#changed(found);
    if (args.session_status !== undefined) this.#setSession(found.channel.id, found.threadTs!, args.session_status);
    return {};
  }

  #streamed(args: JsonObject) {
    const found = this.#own(args);
    const { stream } = found;
    if (stream === undefined || stream.state === "stopped") throw new ApiError("message_not_in_streaming_state");
    if (stream.state === "stopped_by_user") throw new ApiError("stopped_by_user");
    return { message: found, stream };
  }

  #runOther(method: string, args: JsonObject): JsonObject {
    const { world, clock } = this.#state;
    switch (method) {
      case "agents.sessions.setStatus":
        return this.#setSession(args.channel_id, args.thread_ts, args.status);
      case "assistant.threads.setStatus": {
        const status = String(args.status ?? "");
        world.statuses.set(`${String(args.channel_id)} ${String(args.thread_ts)}`, status);
        world.statusHistory.push(status);
        return {};
      }
      case "assistant.threads.setSuggestedPrompts":
        if ((args.prompts as unknown[]).length > 4) throw new ApiError("too_many_prompts");
        world.prompts.push(args);
        return {};
      case "conversations.open":
        return { channel: { id: world.direct(this.#user(args.users)).id } };
      case "conversations.replies":
        return this.#replies(args);
      case "users.info":
        return { user: this.#userJson(args) };
      case "views.open": {
        const trigger = this.#state.triggers.get(String(args.trigger_id));
        if (trigger === undefined || trigger.used) throw new ApiError("invalid_trigger");
        if (clock.now() - trigger.at > 3_000) throw new ApiError("expired_trigger_id");
        trigger.used = true;
        const view = { ...(args.view as JsonObject), id: world.newId("V") };
        world.views.push(view);
        return { view };
      }
      case "views.publish": {
        const view = args.view as JsonObject;
        for (const wrong of checkBlocks(view.blocks as Block[])) this.#state.violation(`views.publish: ${wrong}`);
        if ((view.blocks as Block[]).some(({ type }) => type === "markdown")) {
          this.#state.violation("views.publish: markdown blocks stand in messages only");
        }
        this.#checkPictures(view.blocks as Block[]);
        world.homes.set(String(args.user_id), view.blocks as Block[]);
        return {};
      }
      default:
        return this.#runFiles(method, args);
    }
  }

  /** A picture must be a file of the workspace that Slack has looked at. */
  #checkPictures(blocks: readonly Block[]): void {
    const { world } = this.#state;
    for (const block of blocks.filter(({ type }) => type === "image")) {
      const { id } = (block.slack_file ?? {}) as { id?: string };
      const file = world.files.find((one) => one.id === id && one.bytes.length > 0);
      if (file === undefined) throw new ApiError("invalid_blocks");
      file.looks = (file.looks ?? 0) + 1;
      if (file.looks <= world.picturesTakeLooks) throw new ApiError("invalid_blocks");
    }
  }

  #runFiles(method: string, args: JsonObject): JsonObject {
    const { world, url } = this.#state;
    if (method === "files.getUploadURLExternal") {
      const id = world.newId("F");
      const altText = args.alt_txt === undefined ? {} : { altText: String(args.alt_txt) };
      world.files.push({ id, name: String(args.filename), mimetype: "", bytes: new Uint8Array(), ...altText });
      return { file_id: id, upload_url: `${url()}/upload/${id}` };
    }
    if (method === "files.delete") {
      const index = world.files.findIndex(({ id }) => id === args.file);
      if (index < 0) throw new ApiError("file_not_found");
      world.files.splice(index, 1);
      return {};
    }
    if (args.channel_id === undefined) return {};
    const channel = this.#writable({ channel: args.channel_id });
    for (const { id } of args.files as { id: string }[]) {
      const file = world.files.find((one) => one.id === id);
      if (file === undefined || file.bytes.length === 0) throw new ApiError("file_not_found");
      this.#add(channel, args, { files: [file] });
    }
    return {};
  }

  #setSession(channel: unknown, threadTs: unknown, status: unknown): JsonObject {
    const { world, subscriptions } = this.#state;
    if (!["active", "processing", "suspended", "closed"].includes(String(status))) {
      throw new ApiError("invalid_arguments");
    }
    const known = world.sessions.find((one) => one.channel === channel && one.threadTs === threadTs);
    const session = known ?? { channel: String(channel), threadTs: String(threadTs), status: "" };
    if (known === undefined) world.sessions.push(session);
    session.status = String(status);
    const warning = "missing_agent_session_stopped_event_subscription";
    return status === "processing" && !subscriptions.has("agent_session_stopped")
      ? { status, warning, response_metadata: { warnings: [warning] } }
      : { status };
  }

  #replies(args: JsonObject): JsonObject {
    const channel = this.#writable(args);
    const messages = channel.messages.filter(
      (one) => (one.ts === args.ts || one.threadTs === args.ts) && !one.deleted && one.ephemeralFor === undefined,
    );
    const limit = Math.min(Number(args.limit ?? 15), 1000);
    return { messages: messages.slice(0, limit).map(messageJson) };
  }

  #userJson(args: JsonObject): JsonObject {
    const user = this.#user(args.user);
    return {
      id: user.id,
      name: user.name.toLowerCase(),
      real_name: user.name,
      is_admin: user.isAdmin,
      is_owner: false,
      is_bot: user.isBot,
      ...(args.include_locale === true ? { locale: user.locale } : {}),
      profile: { display_name: user.name, real_name: user.name },
    };
  }

  #user(id: unknown) {
    const user = this.#state.world.user(id);
    if (user === undefined) throw new ApiError("user_not_found");
    return user;
  }

  #writable(args: JsonObject): StandChannel {
    const channel = this.#state.world.channel(args.channel);
    if (channel === undefined || (channel.kind === "group" && !channel.botIsMember)) {
      throw new ApiError("channel_not_found");
    }
    if (channel.archived) throw new ApiError("is_archived");
    return channel;
  }

  #own(args: JsonObject): StandMessage {
    const { world } = this.#state;
    if (world.channel(args.channel) === undefined) throw new ApiError("channel_not_found");
    const found = world.message(args.channel, args.ts);
    if (found === undefined || found.ephemeralFor !== undefined) throw new ApiError("message_not_found");
    if (found.user !== world.bot) throw new ApiError("cant_update_message");
    return found;
  }

  #add(channel: StandChannel, args: JsonObject, parts: Partial<StandMessage>): StandMessage {
    const { world } = this.#state;
    const threadTs = args.thread_ts === undefined ? undefined : String(args.thread_ts);
    if (threadTs !== undefined && world.message(channel.id, threadTs) === undefined) {
      throw new ApiError("thread_not_found");
    }
    // A reply clears the status line.
    if (threadTs !== undefined) world.statuses.delete(`${channel.id} ${threadTs}`);
    return world.addMessage(channel, world.bot, { ...parts, ...(threadTs === undefined ? {} : { threadTs }) });
  }

  #changed(found: StandMessage): void {
    found.versions.push({ text: shownText(found), at: this.#state.clock.now() });
  }

  #checkMarkdown(method: string, args: JsonObject, before: string): void {
    const text = String(args.markdown_text ?? "");
    if (args.text !== undefined) this.#state.violation(`${method}: markdown_text together with text`);
    if (text.length > 12_000 || before.length + text.length > 12_000) throw new ApiError("msg_too_long");
    for (const wrong of checkManners({ markdown_text: before + text }, [])) {
      this.#state.violation(`${method}: ${wrong}`);
    }
  }

  #checkContent(method: string, args: JsonObject, textCharsMax: number): Block[] {
    const blocks = (args.blocks ?? []) as Block[];
    if (blocks.length === 0 && String(args.text ?? "") === "" && method !== "chat.stopStream") {
      throw new ApiError("no_text");
    }
    if (String(args.text ?? "").length > textCharsMax) throw new ApiError("msg_too_long");
    const wrong = checkBlocks(blocks);
    for (const one of [...wrong, ...checkManners(args, blocks)]) this.#state.violation(`${method}: ${one}`);
    if (wrong.length > 0) throw new ApiError("invalid_blocks");
    return blocks;
  }
}

export function messageJson(one: StandMessage): JsonObject {
  return {
    type: "message",
    ts: one.ts,
    user: one.user.id,
    text: one.text === "" ? shownText(one) : one.text,
    ...(one.user.isBot ? { bot_id: "B0SNUG" } : {}),
    ...(one.threadTs === undefined ? {} : { thread_ts: one.threadTs }),
  };
}
