/**
 * Slack on loopback for the real Bolt: Web API, Socket Mode and signed requests with the platform's clocks, limits and
 * error names, and people who use it. Breaches of the rules are answered as Slack would and kept in `violations`.
 */
import { createHmac } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type WebSocket, WebSocketServer } from "ws";
import type { Clock } from "../../../src/core/ports.ts";
import { ApiError, type ApiRequest, WebApi } from "./web-api.ts";
import {
  type Block,
  type JsonObject,
  type StandChannel,
  type StandFile,
  type StandMessage,
  type StandUser,
  World,
} from "./world.ts";

export interface StandInOptions {
  clock?: Clock;
  /** Events the app subscribes to; default all. */
  withoutSubscriptions?: readonly string[];
  teamId?: string;
  botToken?: string;
}

/** Something Slack sent and how the app took it. */
export interface Delivery {
  kind: "events_api" | "slash_commands" | "interactive";
  payload: JsonObject;
  sentAt: number;
  ackedAt?: number;
  /** HTTP status, when it was sent that way. */
  status?: number;
  /** What came with the acknowledgement. */
  reply?: unknown;
}

export interface ResponseReply {
  at: number;
  body: JsonObject & { response_type?: string; text?: string; blocks?: Block[] };
}

export interface StandCommand {
  delivery: Delivery;
  /** What came by the response_url. */
  replies: ResponseReply[];
}

interface ResponseAddress {
  at: number;
  replies: ResponseReply[];
}

const ackMsMax = 3_000;
const responseUses = 5;
const responseMsMax = 30 * 60_000;

export class SlackStandIn {
  readonly botToken: string;
  readonly appToken = "xapp-stand-in";
  readonly signingSecret = "stand-in-signing-secret";
  readonly clientId = "1234.5678";
  readonly clientSecret = "client_secret_of_the_stand_in";
  readonly world: World;
  readonly violations: string[] = [];
  readonly deliveries: Delivery[] = [];
  readonly api: WebApi;
  readonly missingMethods = new Set<string>();
  readonly missingScopes = new Set<string>();
  /** Where signed requests go; without it everything is sent by Socket Mode. */
  http: ((request: Request) => Promise<Response>) | undefined;
  socketCount = 0;
  /** Workspaces whose tokens are known at this one's address, too. */
  readonly others: SlackStandIn[] = [];
  readonly #codes = new Map<string, { workspace: SlackStandIn; orgWide: boolean }>();
  readonly #clock: Clock;
  readonly #server: Server;
  readonly #sockets: WebSocketServer;
  readonly #waiting = new Map<string, Delivery>();
  readonly #addresses = new Map<string, ResponseAddress>();
  readonly #triggers = new Map<string, { at: number; used: boolean }>();
  #fault: (request: Pick<ApiRequest, "method">) => ApiError | "hang up" | "lose reply" | undefined = () => undefined;

  private constructor(server: Server, options: StandInOptions) {
    this.#clock = options.clock ?? { now: () => Date.now() };
    this.#server = server;
    this.botToken = options.botToken ?? "xoxb-stand-in";
    this.world = new World(this.#clock, options.teamId);
    const events = ["agent_session_stopped", "message", "app_mention", "app_home_opened"];
    this.api = new WebApi({
      world: this.world,
      clock: this.#clock,
      botToken: this.botToken,
      appToken: this.appToken,
      url: () => this.url,
      missingMethods: this.missingMethods,
      missingScopes: this.missingScopes,
      subscriptions: new Set(events.filter((event) => !options.withoutSubscriptions?.includes(event))),
      violation: (text) => void this.violations.push(text),
      triggers: this.#triggers,
    });
    this.#sockets = new WebSocketServer({ server, path: "/socket" });
    this.#sockets.on("connection", (socket) => this.#welcome(socket));
    server.on("request", (request, response) => void this.#serve(request, response));
  }

  static async start(options: StandInOptions = {}): Promise<SlackStandIn> {
    const server = createServer();
    const standIn = new SlackStandIn(server, options);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return standIn;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets.clients) socket.terminate();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Every delivery must have been acknowledged in time; call it at the end of a test. */
  checkAcknowledged(): void {
    for (const { kind, payload, ackedAt } of this.deliveries) {
      if (ackedAt === undefined) this.violations.push(`${kind} ${JSON.stringify(payload).slice(0, 80)} was not acked`);
    }
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** What Bolt is given as its Web API. */
  get apiUrl(): string {
    return `${this.url}/api/`;
  }

  get connected(): boolean {
    return [...this.#sockets.clients].some((socket) => socket.readyState === socket.OPEN);
  }

  /** Asks the app to come back by a new socket, as Slack does every few hours. */
  refreshSocket(): void {
    for (const socket of this.#sockets.clients) {
      socket.send(JSON.stringify({ type: "disconnect", reason: "refresh_requested" }));
    }
  }

  requests(method: string): ApiRequest[] {
    return this.api.requests.filter((request) => request.method === method);
  }

  /** For messages of failed tests. */
  recent(): string[] {
    const tail = this.api.requests.slice(-8).map(({ method, result }) => `${method} ${result}`);
    return [...tail, ...this.violations];
  }

  /** Refuses the next `times` calls of a method; "lose reply" carries the call out but breaks the connection. */
  fail(method: string, fault: ApiError | "hang up" | "lose reply", times = 1): void {
    let left = times;
    const before = this.#fault;
    this.#fault = (request) => {
      if (left > 0 && request.method === method) {
        left--;
        return fault;
      }
      return before(request);
    };
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Uint8Array[] = [];
    for await (const chunk of request) chunks.push(chunk as Uint8Array);
    const body = Buffer.concat(chunks);
    const path = request.url ?? "";
    if (path.startsWith("/api/")) this.#serveApi(path.slice(5).split("?")[0]!, request, body.toString(), response);
    else if (path.startsWith("/upload/")) this.#serveUpload(path.slice(8), body, response);
    else if (path.startsWith("/respond/")) this.#serveRespond(path.slice(9), body.toString(), response);
    else if (path.startsWith("/files/")) this.#serveFile(path.slice(7), request, response);
    else response.writeHead(404).end();
  }

  #serveApi(method: string, request: IncomingMessage, body: string, response: ServerResponse): void {
    const fault = this.#fault({ method });
    if (fault === "hang up") {
      response.destroy();
      return;
    }
    const type = request.headers["content-type"] ?? "";
    if (body !== "" && !type.startsWith("application/x-www-form-urlencoded")) {
      this.violations.push(`${method}: a body of type ${type}`);
    }
    const token = (request.headers.authorization ?? "").replace(/^Bearer /, "");
    const send = (status: number, reply: JsonObject, headers: Record<string, string> = {}) =>
      response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(reply));
    try {
      if (fault instanceof ApiError) {
        this.api.requests.push({ method, args: {}, at: this.#clock.now(), result: fault.code });
        throw fault;
      }
      const form = new URLSearchParams(body);
      const workspace = this.others.find(({ botToken }) => botToken === token) ?? this;
      const reply = method === "oauth.v2.access" ? this.#grant(form, token) : workspace.api.handle(method, form, token);
      if (fault === "lose reply") response.destroy();
      else send(200, reply);
    } catch (thrown) {
      if (!(thrown instanceof ApiError)) throw thrown;
      const last = this.api.requests.at(-1);
      if (last?.method === method) last.result = thrown.code;
      const { code, retryAfterS } = thrown;
      if (retryAfterS === undefined) send(200, { ok: false, error: code });
      else send(429, { ok: false, error: code }, { "retry-after": String(retryAfterS) });
    }
  }

  /** Somebody agreed to install the app: what Slack sends back with them. */
  newCode(workspace: SlackStandIn, orgWide = false): string {
    const code = this.world.newId("code");
    this.#codes.set(code, { workspace, orgWide });
    return code;
  }

  /** Codes are good for once. */
  #grant(form: URLSearchParams, token: string): JsonObject {
    const { client_id, client_secret, code = "", ...rest } = Object.fromEntries(form);
    this.api.requests.push({ method: "oauth.v2.access", args: { code }, at: this.#clock.now(), result: "ok" });
    for (const name of Object.keys(rest)) this.violations.push(`oauth.v2.access: the argument ${name} is not known`);
    if (token !== "") this.violations.push("oauth.v2.access takes no token");
    if (client_id !== this.clientId) throw new ApiError("invalid_client_id");
    if (client_secret !== this.clientSecret) throw new ApiError("bad_client_secret");
    const agreed = this.#codes.get(code);
    if (agreed === undefined) throw new ApiError("invalid_code");
    this.#codes.delete(code);
    const { world, botToken } = agreed.workspace;
    return {
      ok: true,
      access_token: botToken,
      token_type: "bot",
      bot_user_id: world.bot.id,
      app_id: world.appId,
      team: agreed.orgWide ? null : { id: world.teamId, name: `${world.teamId} & friends` },
      enterprise: agreed.orgWide ? { id: "E0LAB", name: "Lab" } : null,
      is_enterprise_install: agreed.orgWide,
      authed_user: { id: world.users[0]?.id },
    };
  }

  /** Somebody removes the app from the workspace; Slack tells in no particular order. */
  async uninstall(): Promise<void> {
    await this.event({ type: "tokens_revoked", tokens: { oauth: [], bot: [this.world.bot.id] } });
    await this.event({ type: "app_uninstalled" });
  }

  #serveUpload(id: string, bytes: Uint8Array, response: ServerResponse): void {
    const file = this.world.files.find((one) => one.id === id);
    if (file !== undefined) file.bytes = bytes;
    response.writeHead(file === undefined ? 404 : 200).end("OK");
  }

  #serveFile(id: string, request: IncomingMessage, response: ServerResponse): void {
    const file = this.world.files.find((one) => one.id === id);
    if (request.headers.authorization !== `Bearer ${this.botToken}`) response.writeHead(403).end();
    else if (file === undefined) response.writeHead(404).end();
    else response.writeHead(200, { "content-type": file.mimetype }).end(file.bytes);
  }

  #serveRespond(id: string, body: string, response: ServerResponse): void {
    const address = this.#addresses.get(id);
    const now = this.#clock.now();
    if (address === undefined || now - address.at > responseMsMax) {
      response.writeHead(404).end("expired_url");
    } else if (address.replies.length >= responseUses) {
      this.violations.push("a response_url was used more than five times");
      response.writeHead(404).end("used_url");
    } else {
      address.replies.push({ at: now, body: JSON.parse(body) });
      response.writeHead(200).end("ok");
    }
  }

  // Deliveries.

  #welcome(socket: WebSocket): void {
    this.socketCount++;
    socket.send(JSON.stringify({ type: "hello", num_connections: 1, connection_info: { app_id: this.world.appId } }));
    socket.on("message", (data) => {
      const { envelope_id: id, payload } = JSON.parse(String(data)) as { envelope_id: string; payload?: unknown };
      const delivery = this.#waiting.get(id);
      if (delivery === undefined) this.violations.push(`an acknowledgement of nothing: ${id}`);
      else this.#acked(delivery, payload);
      this.#waiting.delete(id);
    });
  }

  #acked(delivery: Delivery, reply: unknown): void {
    delivery.ackedAt = this.#clock.now();
    delivery.reply = reply;
    const ms = delivery.ackedAt - delivery.sentAt;
    if (ms > ackMsMax) this.violations.push(`${delivery.kind} was acknowledged after ${ms} ms`);
  }

  /** Sends as the app wants it; resolves once it is on its way, or for HTTP once it is answered. */
  async deliver(
    kind: Delivery["kind"],
    payload: JsonObject,
    retry?: { num: number; reason: string },
  ): Promise<Delivery> {
    const delivery: Delivery = { kind, payload, sentAt: this.#clock.now() };
    this.deliveries.push(delivery);
    if (this.http !== undefined) {
      const response = await this.http(this.signed(kind, payload, { ...(retry === undefined ? {} : { retry }) }));
      delivery.status = response.status;
      if (response.ok) this.#acked(delivery, await response.text());
      return delivery;
    }
    const id = this.world.newId("E");
    this.#waiting.set(id, delivery);
    const envelope = {
      type: kind,
      envelope_id: id,
      payload,
      accepts_response_payload: kind !== "events_api",
      ...(retry === undefined ? {} : { retry_attempt: retry.num, retry_reason: retry.reason }),
    };
    const socket = [...this.#sockets.clients].find((one) => one.readyState === one.OPEN);
    socket?.send(JSON.stringify(envelope));
    return delivery;
  }

  /** A request as Slack signs it. */
  signed(
    kind: Delivery["kind"],
    payload: JsonObject,
    more: { secret?: string; offsetMs?: number; retry?: { num: number; reason: string }; body?: string } = {},
  ): Request {
    const asForm = (values: Record<string, string>) => new URLSearchParams(values).toString();
    const body =
      more.body ??
      (kind === "events_api"
        ? JSON.stringify(payload)
        : kind === "slash_commands"
          ? asForm(payload as Record<string, string>)
          : asForm({ payload: JSON.stringify(payload) }));
    const timestamp = Math.floor((this.#clock.now() + (more.offsetMs ?? 0)) / 1000);
    const hmac = createHmac("sha256", more.secret ?? this.signingSecret).update(`v0:${timestamp}:${body}`);
    return new Request("http://127.0.0.1/slack/events", {
      method: "POST",
      body,
      headers: {
        "content-type": kind === "events_api" ? "application/json" : "application/x-www-form-urlencoded",
        "x-slack-request-timestamp": String(timestamp),
        "x-slack-signature": `v0=${hmac.digest("hex")}`,
        ...(more.retry === undefined
          ? {}
          : { "x-slack-retry-num": String(more.retry.num), "x-slack-retry-reason": more.retry.reason }),
      },
    });
  }

  async event(event: JsonObject, eventId = this.world.newId("Ev")): Promise<Delivery> {
    return await this.deliver("events_api", {
      type: "event_callback",
      team_id: this.world.teamId,
      api_app_id: this.world.appId,
      event,
      event_id: eventId,
      event_time: Math.floor(this.#clock.now() / 1000),
      authorizations: [{ team_id: this.world.teamId, user_id: this.world.bot.id, is_bot: true }],
    });
  }

  /** The same event again, as Slack does when it saw no acknowledgement. */
  async repeat(delivery: Delivery, eventId?: string): Promise<Delivery> {
    const payload = eventId === undefined ? delivery.payload : { ...delivery.payload, event_id: eventId };
    return await this.deliver(delivery.kind, payload, { num: 1, reason: "http_timeout" });
  }

  // People and what they do.

  async say(
    user: StandUser,
    channel: StandChannel,
    text: string,
    more: { thread?: string; files?: StandFile[] } = {},
  ): Promise<{ message: StandMessage; deliveries: Delivery[] }> {
    const threadTs = more.thread;
    const message = this.world.addMessage(channel, user, {
      text,
      files: more.files ?? [],
      ...(threadTs === undefined ? {} : { threadTs }),
    });
    if (!channel.botIsMember) return { message, deliveries: [] };
    const event: JsonObject = {
      type: "message",
      user: user.id,
      text,
      ts: message.ts,
      channel: channel.id,
      channel_type: channel.kind,
      event_ts: message.ts,
      ...(threadTs === undefined ? {} : { thread_ts: threadTs }),
      ...(message.files.length === 0 ? {} : { subtype: "file_share", files: message.files.map((f) => this.#file(f)) }),
    };
    const deliveries = [await this.event(event)];
    if (text.includes(`<@${this.world.bot.id}>`) && channel.kind !== "im") {
      const { channel_type: _, subtype: __, ...rest } = event;
      deliveries.push(await this.event({ ...rest, type: "app_mention" }));
    }
    return { message, deliveries };
  }

  #file(file: StandFile): JsonObject {
    if (!this.world.files.includes(file)) this.world.files.push(file);
    return {
      id: file.id,
      name: file.name,
      mimetype: file.mimetype,
      size: file.bytes.length,
      url_private_download: `${this.url}/files/${file.id}`,
    };
  }

  async erase(message: StandMessage): Promise<void> {
    message.deleted = true;
    await this.event({
      type: "message",
      subtype: "message_deleted",
      channel: message.channel.id,
      channel_type: message.channel.kind,
      ts: this.world.newTs(),
      deleted_ts: message.ts,
      hidden: true,
    });
  }

  async slash(user: StandUser, channel: StandChannel, command: string, text = ""): Promise<StandCommand> {
    const { id, replies } = this.#address();
    const delivery = await this.deliver("slash_commands", {
      token: "legacy",
      team_id: this.world.teamId,
      team_domain: "lab",
      channel_id: channel.id,
      channel_name: channel.kind === "im" ? "directmessage" : channel.name,
      user_id: user.id,
      user_name: user.name.toLowerCase(),
      command,
      text,
      api_app_id: this.world.appId,
      response_url: `${this.url}/respond/${id}`,
      trigger_id: this.#trigger(),
    });
    return { delivery, replies };
  }

  #address(): { id: string; replies: ResponseReply[] } {
    const id = this.world.newId("R");
    const replies: ResponseReply[] = [];
    this.#addresses.set(id, { at: this.#clock.now(), replies });
    return { id, replies };
  }

  #trigger(): string {
    const id = this.world.newId("T");
    this.#triggers.set(id, { at: this.#clock.now(), used: false });
    return id;
  }

  /** @param verb the beginning of the button's value */
  async press(user: StandUser, message: StandMessage, verb: string): Promise<StandCommand> {
    const element = message.blocks
      .filter(({ type }) => type === "actions" || type === "context_actions")
      .flatMap((block) => block.elements as JsonObject[])
      .flatMap((one): JsonObject[] =>
        one.type === "feedback_buttons"
          ? [one.positive_button, one.negative_button].map((button) => ({
              type: "feedback_buttons",
              action_id: one.action_id,
              value: (button as JsonObject).value,
            }))
          : [one],
      )
      .find(({ value }) => String(value).startsWith(`${verb}:`));
    if (element === undefined) throw new Error(`There is no button ${verb}`);
    const { id, replies } = this.#address();
    const { channel, ts, threadTs, text, blocks } = message;
    const delivery = await this.deliver("interactive", {
      type: "block_actions",
      team: { id: this.world.teamId, domain: "lab" },
      user: { id: user.id, name: user.name.toLowerCase(), team_id: this.world.teamId },
      channel: { id: channel.id, name: channel.name },
      container: { type: "message", message_ts: ts, channel_id: channel.id },
      message: { type: "message", ts, text, blocks, ...(threadTs === undefined ? {} : { thread_ts: threadTs }) },
      actions: [
        {
          type: element.type,
          action_id: element.action_id,
          block_id: "b",
          value: element.value,
          action_ts: this.world.newTs(),
        },
      ],
      response_url: `${this.url}/respond/${id}`,
      trigger_id: this.#trigger(),
    });
    return { delivery, replies };
  }

  /** Slack's own Stop button: it cuts the streams of the thread and tells the app. */
  async stopSession(user: StandUser, channel: StandChannel, threadTs: string): Promise<Delivery> {
    const streams = channel.messages.filter((one) => one.threadTs === threadTs && one.stream?.state === "open");
    for (const { stream } of streams) if (stream !== undefined) stream.state = "stopped_by_user";
    return await this.event({
      type: "agent_session_stopped",
      channel: channel.id,
      thread_ts: threadTs,
      user: user.id,
      streaming_message_ts: streams.map(({ ts }) => ts),
      event_ts: this.world.newTs(),
    });
  }

  async askAbout(user: StandUser, message: StandMessage): Promise<Delivery> {
    const { channel, ts, threadTs, text } = message;
    return await this.deliver("interactive", {
      type: "message_action",
      callback_id: "snug_ask_about",
      trigger_id: this.#trigger(),
      message_ts: ts,
      response_url: `${this.url}/respond/${this.#address().id}`,
      team: { id: this.world.teamId, domain: "lab" },
      user: { id: user.id, name: user.name.toLowerCase() },
      channel: { id: channel.id, name: channel.name },
      message: { type: "message", ts, text, user: message.user.id, ...(threadTs ? { thread_ts: threadTs } : {}) },
    });
  }

  async submit(user: StandUser, view: JsonObject, value: string | null): Promise<Delivery> {
    return await this.deliver("interactive", {
      type: "view_submission",
      team: { id: this.world.teamId, domain: "lab" },
      user: { id: user.id, name: user.name.toLowerCase() },
      api_app_id: this.world.appId,
      view: { ...view, state: { values: { question: { question: { type: "plain_text_input", value } } } } },
    });
  }

  async openHome(user: StandUser, tab: "home" | "messages"): Promise<Delivery> {
    const channel = this.world.direct(user).id;
    return await this.event({ type: "app_home_opened", user: user.id, channel, tab, event_ts: this.world.newTs() });
  }
}
