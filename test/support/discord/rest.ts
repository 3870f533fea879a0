/** The REST half of the stand-in: routes, checks, refusals with Discord's codes. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Clock } from "../../../src/core/ports.ts";
import { type BucketRule, Buckets } from "./buckets.ts";
import type { Gateway } from "./gateway.ts";
import { ackMsMax, followUpsUserInstalledMax, type StandInteraction, tokenMsMax } from "./interactions.ts";
import { checkCommand, checkManners, checkMessage, type JsonObject } from "./rules.ts";
import { checkBody } from "./schema.ts";
import {
  channelJson,
  messageJson,
  type StandChannel,
  type StandFile,
  type StandMessage,
  userJson,
  type World,
} from "./world.ts";

/** A refusal as Discord words it. */
export class Refusal extends Error {
  readonly status: number;
  readonly code: number;
  constructor(status: number, code: number, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export interface RestRequest {
  method: string;
  /** Path template of the description. */
  route: string;
  path: string;
  parameters: string[];
  query: URLSearchParams;
  body: JsonObject;
  hasBody: boolean;
  files: StandFile[];
  /** Milliseconds of the stand-in's clock. */
  at: number;
  status: number;
}

export interface RestState {
  world: World;
  clock: Clock;
  gateway: () => Gateway;
  token: string;
  applicationId: string;
  applicationFlags: number;
  url: () => string;
  interactions: Map<string, StandInteraction>;
  commands: Map<string, JsonObject[]>;
  violation: (text: string) => void;
  onChange: () => void;
  /** Looked at before every request; a refusal it returns is sent. */
  fault: (request: RestRequest) => Refusal | "hang up" | undefined;
  /** Looked at after a request was carried out: true breaks the connection before the reply. */
  losesReply: (request: RestRequest) => boolean;
  /** Where interactions go by the application's settings. */
  endpoint: string | undefined;
  /** Whether the address answers a ping as it must. */
  acceptsEndpoint: (url: string) => boolean;
  limits: { channel: BucketRule; webhook: BucketRule; other: BucketRule };
  /** Words that the server's filter refuses. */
  blockedWords: Set<string>;
}

type Handler = (request: RestRequest, state: RestState) => unknown;

const snowflake = "(\\d+)";
const routes: [method: string, template: string, pattern: RegExp, handler: Handler][] = [];
function route(method: string, template: string, handler: Handler): void {
  const pattern = template
    .replace("@original", "(@original)")
    .replace(/\{(\w+)\}/g, (_, name: string) => (name.includes("token") ? "([^/]+)" : snowflake));
  routes.push([method, template, new RegExp(`^${pattern}$`), handler]);
}

route("GET", "/gateway/bot", (_request, { url }) => ({
  url: url().replace("http", "ws"),
  shards: 1,
  session_start_limit: { total: 1000, remaining: 999, reset_after: 86_400_000, max_concurrency: 1 },
}));
route("GET", "/applications/@me", (_request, { applicationId, applicationFlags, world }) => ({
  id: applicationId,
  name: "Snug",
  flags: applicationFlags,
  bot: userJson(world.bot),
}));
route("PATCH", "/applications/@me", (request, state) => {
  const url = request.body.interactions_endpoint_url;
  if (url !== null && !state.acceptsEndpoint(String(url))) {
    throw new Refusal(400, 50035, "interactions_endpoint_url could not be verified");
  }
  state.endpoint = url === null ? undefined : String(url);
  return { id: state.applicationId };
});
for (const scope of ["", "/guilds/{guild_id}"]) {
  const all = `/applications/{application_id}${scope}/commands`;
  route("GET", all, (request, state) => commandsOf(request, state, scope !== ""));
  route("POST", all, (request, state) => putCommand(request, state, scope !== ""));
  route("DELETE", `${all}/{command_id}`, (request, state) => {
    const commands = commandsOf(request, state, scope !== "");
    const index = commands.findIndex((command) => command.id === request.parameters.at(-1));
    if (index < 0) throw new Refusal(404, 10063, "Unknown application command");
    commands.splice(index, 1);
  });
}
route("POST", "/interactions/{interaction_id}/{interaction_token}/callback", acknowledge);
const webhook = "/webhooks/{webhook_id}/{webhook_token}";
route("POST", webhook, followUp);
for (const message of ["@original", "{message_id}"]) {
  route("PATCH", `${webhook}/messages/${message}`, editByWebhook);
  route("GET", `${webhook}/messages/${message}`, (request, state) => json(webhookMessage(request, state), state));
  route("DELETE", `${webhook}/messages/${message}`, (request, state) => remove(webhookMessage(request, state), state));
}
route("POST", "/users/@me/channels", ({ body }, { world }) => {
  const user = world.users.find((one) => one.id === body.recipient_id);
  if (user === undefined) throw new Refusal(400, 50033, "Invalid Recipient(s)");
  return channelJson(world.directChannel(user));
});
route("POST", "/channels/{channel_id}/typing", (request, state) => {
  channelOf(request, state, "send");
});
route("GET", "/channels/{channel_id}", (request, state) => channelJson(channelOf(request, state, "view")));
route("POST", "/channels/{channel_id}/messages", sendMessage);
route("GET", "/channels/{channel_id}/messages", listMessages);
route("GET", "/channels/{channel_id}/messages/{message_id}", (request, state) =>
  json(channelMessage(request, state, "view"), state),
);
route("PATCH", "/channels/{channel_id}/messages/{message_id}", (request, state) => {
  const message = channelMessage(request, state, "view");
  if (message.author.id !== state.world.bot.id)
    throw new Refusal(403, 50005, "Cannot edit a message authored by another user");
  const channel = channelOf(request, state, "view");
  if (channel.archived) throw new Refusal(400, 50083, "Thread is archived");
  return json(applyEdit(message, request, state), state);
});
route("DELETE", "/channels/{channel_id}/messages/{message_id}", (request, state) =>
  remove(channelMessage(request, state, "view"), state),
);
route("POST", "/channels/{channel_id}/messages/{message_id}/threads", openThread);

export class Rest {
  readonly #state: RestState;
  readonly #buckets: Buckets;
  readonly requests: RestRequest[] = [];
  /** 429 answers that came from a full bucket. */
  limitedCount = 0;

  constructor(state: RestState) {
    this.#state = state;
    this.#buckets = new Buckets(state.clock);
  }

  async handle(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(incoming.url ?? "/", "http://stand-in");
    if (url.pathname.startsWith("/attachments/")) {
      this.#serveFile(url.pathname, response);
      return;
    }
    const path = decodeURIComponent(url.pathname.replace(/^\/api\/v10/, ""));
    const found = routes.find(([method, , pattern]) => method === incoming.method && pattern.test(path));
    const { body, files, hasBody } = await readBody(incoming, this.#state.world);
    if (found === undefined) {
      this.#state.violation(`no such route: ${incoming.method} ${path}`);
      send(response, 404, { message: "404: Not Found", code: 0 });
      return;
    }
    const [method, template, pattern, handler] = found;
    const parameters = pattern.exec(path)!.slice(1);
    const at = this.#state.clock.now();
    const query = url.searchParams;
    const request: RestRequest = {
      method,
      route: template,
      path,
      parameters,
      query,
      body,
      hasBody,
      files,
      at,
      status: 0,
    };
    this.requests.push(request);
    this.#answer(request, handler, incoming, response);
    this.#state.onChange();
  }

  /** An acknowledgement that came as the answer to Discord's own request: the same rules as for a callback. */
  acknowledge(interaction: StandInteraction, body: JsonObject): void {
    const request: RestRequest = {
      method: "POST",
      route: "/interactions/{interaction_id}/{interaction_token}/callback",
      path: `/interactions/${interaction.id}/${interaction.token}/callback`,
      parameters: [interaction.id, interaction.token],
      query: new URLSearchParams(),
      body,
      hasBody: true,
      files: [],
      at: this.#state.clock.now(),
      status: 200,
    };
    this.requests.push(request);
    try {
      this.#check(request);
      acknowledge(request, this.#state);
    } catch (thrown) {
      this.#state.violation(`an acknowledgement was refused: ${String(thrown)}`);
    }
    this.#state.onChange();
  }

  #answer(request: RestRequest, handler: Handler, incoming: IncomingMessage, response: ServerResponse): void {
    const bucket = this.#buckets.take(bucketKey(request), bucketRule(request, this.#state));
    try {
      const fault = this.#state.fault(request);
      if (fault === "hang up") {
        incoming.socket.destroy();
        return;
      }
      if (fault !== undefined) throw fault;
      if (bucket.retryAfter !== undefined) {
        this.limitedCount++;
        const body = { message: "You are being rate limited.", retry_after: bucket.retryAfter, global: false };
        request.status = 429;
        send(response, 429, body, { ...bucket.headers, "retry-after": String(Math.ceil(bucket.retryAfter)) });
        return;
      }
      this.#authorize(request, incoming);
      this.#check(request);
      const result = handler(request, this.#state);
      request.status = result === undefined ? 204 : 200;
      if (this.#state.losesReply(request)) {
        incoming.socket.destroy();
        return;
      }
      send(response, request.status, result, bucket.headers);
    } catch (thrown) {
      const refusal = thrown instanceof Refusal ? thrown : new Refusal(500, 0, String(thrown));
      if (!(thrown instanceof Refusal)) this.#state.violation(`the stand-in failed: ${(thrown as Error).stack}`);
      request.status = refusal.status;
      const body = { message: refusal.message, code: refusal.code };
      const retry: Record<string, string> =
        refusal.status === 429 ? { "retry-after": String(retryAfterOf(refusal)) } : {};
      const extra = refusal.status === 429 ? { retry_after: retryAfterOf(refusal), global: false } : {};
      send(response, refusal.status, { ...body, ...extra }, { ...bucket.headers, ...retry });
    }
  }

  #authorize({ route: template, path }: RestRequest, incoming: IncomingMessage): void {
    const byToken = template.includes("_token}");
    if (byToken && incoming.headers.authorization !== undefined) {
      this.#state.violation(`${path} needs no bot token and must not carry it`);
    }
    if (!byToken && incoming.headers.authorization !== `Bot ${this.#state.token}`)
      throw new Refusal(401, 0, "401: Unauthorized");
  }

  #check({ method, route: template, body, hasBody, files }: RestRequest): void {
    if (method === "GET" || method === "DELETE" || template.endsWith("/typing")) return;
    const wrong = checkBody(method, template, hasBody ? body : undefined);
    const isMessage = /messages(\/[^/]+)?$/.test(template) || template === webhook;
    const data = (template.endsWith("/callback") ? body.data : isMessage ? body : undefined) as JsonObject | undefined;
    const carriesMessage = isMessage || body.type === 4 || body.type === 7;
    if (data !== undefined && carriesMessage) {
      const edit = method === "PATCH" || body.type === 7;
      wrong.push(...checkMessage(data, edit, files.length));
      for (const rude of checkManners(data)) this.#state.violation(`${method} ${template}: ${rude}`);
      for (const word of this.#state.blockedWords) {
        if (String(data.content ?? "").includes(word)) {
          throw new Refusal(400, 200000, "Message was blocked by automatic moderation");
        }
      }
    }
    if (template.endsWith("/commands")) wrong.push(...checkCommand(body));
    if (wrong.length === 0) return;
    this.#state.violation(`${method} ${template}: ${wrong.join("; ")}`);
    throw new Refusal(400, 50035, `Invalid Form Body: ${wrong.join("; ")}`);
  }

  #serveFile(path: string, response: ServerResponse): void {
    const id = path.split("/")[2];
    const file = this.#state.world.files.find((one) => one.id === id);
    response.writeHead(file === undefined ? 404 : 200, { "content-type": file?.contentType ?? "text/plain" });
    response.end(file === undefined ? "Not found" : Buffer.from(file.bytes));
  }
}

/** The wait of a forced 429 stands in its text. */
function retryAfterOf({ message }: Refusal): number {
  return Number(/[\d.]+/.exec(message)?.[0] ?? 1);
}

function bucketKey({ method, route: template, parameters }: RestRequest): string {
  if (template.includes("/callback")) return `callback ${parameters[0]}`;
  // All messages of one interaction share a bucket, as do edits of one channel.
  if (template.startsWith("/webhooks")) return `webhook ${parameters[1]}`;
  return `${method} ${template} ${parameters[0] ?? ""}`;
}

function bucketRule({ route: template, method }: RestRequest, { limits }: RestState): BucketRule {
  if (template.startsWith("/webhooks")) return limits.webhook;
  return template.startsWith("/channels") && method !== "GET" ? limits.channel : limits.other;
}

function send(response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}): void {
  response.writeHead(status, body === undefined ? headers : { "content-type": "application/json", ...headers });
  response.end(body === undefined ? undefined : JSON.stringify(body));
}

async function readBody(incoming: IncomingMessage, world: World) {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  const raw = Buffer.concat(chunks);
  const type = incoming.headers["content-type"] ?? "";
  if (!type.startsWith("multipart/form-data")) {
    const hasBody = raw.length > 0;
    return { body: (hasBody ? JSON.parse(raw.toString()) : {}) as JsonObject, files: [] as StandFile[], hasBody };
  }
  const form = await new Response(raw, { headers: { "content-type": type } }).formData();
  const body = JSON.parse(String(form.get("payload_json") ?? "{}")) as JsonObject;
  const described = (body.attachments ?? []) as { id: string; description?: string }[];
  const files: StandFile[] = [];
  for (const [key, value] of form) {
    if (typeof value === "string") continue;
    const index = /^files\[(\d+)\]$/.exec(key)?.[1];
    const description = described.find((one) => one.id === index)?.description;
    files.push({
      id: world.newId(),
      name: value.name,
      contentType: value.type,
      bytes: new Uint8Array(await value.arrayBuffer()),
      ...(description === undefined ? {} : { description }),
    });
  }
  world.files.push(...files);
  return { body, files, hasBody: true };
}

function commandsOf(request: RestRequest, { commands, applicationId }: RestState, perGuild: boolean): JsonObject[] {
  if (request.parameters[0] !== applicationId) throw new Refusal(403, 20012, "Not authorized for this application");
  const key = perGuild ? request.parameters[1]! : "global";
  if (!commands.has(key)) commands.set(key, []);
  return commands.get(key)!;
}

/** Creating under a name that exists replaces it and keeps the id. */
function putCommand(request: RestRequest, state: RestState, perGuild: boolean): JsonObject {
  const commands = commandsOf(request, state, perGuild);
  const type = request.body.type ?? 1;
  const old = commands.findIndex((command) => command.name === request.body.name && command.type === type);
  const command = {
    ...request.body,
    type,
    id: old < 0 ? state.world.newId() : commands[old]!.id,
    application_id: state.applicationId,
    version: state.world.newId(),
    // What the real one fills in or leaves out.
    description: request.body.description ?? "",
    nsfw: false,
  };
  if (old < 0) commands.push(command);
  else commands[old] = command;
  return command;
}

function acknowledge(request: RestRequest, state: RestState): unknown {
  const interaction = [...state.interactions.values()].find((one) => one.token === request.parameters[1]);
  const now = state.clock.now();
  if (interaction === undefined || interaction.id !== request.parameters[0])
    throw new Refusal(404, 10062, "Unknown interaction");
  if (interaction.ackType !== undefined) throw new Refusal(400, 40060, "Interaction has already been acknowledged.");
  if (now - interaction.createdAt > ackMsMax) {
    state.violation(`an interaction was acknowledged after ${now - interaction.createdAt} ms`);
    throw new Refusal(404, 10062, "Unknown interaction");
  }
  const type = Number(request.body.type);
  const data = (request.body.data ?? {}) as JsonObject;
  interaction.ackType = type;
  interaction.ackedAt = now;
  interaction.ephemeral = (Number(data.flags ?? 0) & 64) !== 0;
  if (type === 5) {
    if ((Number(data.flags ?? 0) & ~64) !== 0) state.violation("a deferred reply takes the ephemeral flag alone");
    interaction.originalPending = true;
  } else if (type === 4) interaction.original = addReply(interaction, request, state, data);
  else if (type === 7 && interaction.source !== undefined) {
    applyEdit(interaction.source, { ...request, body: data }, state);
    interaction.original = interaction.source;
  } else if (type === 6)
    Object.assign(interaction, interaction.source === undefined ? {} : { original: interaction.source });
  else if (type === 8) interaction.choices = checkChoices(data, state);
  else if (type === 9) interaction.modal = data as { custom_id: string; title: string };
  return undefined;
}

function checkChoices(data: JsonObject, state: RestState): { name: string; value: string }[] {
  const choices = (data.choices ?? []) as { name: string; value: string }[];
  const bad = choices.some(({ name, value }) => name.length < 1 || name.length > 100 || value.length > 100);
  if (choices.length > 25 || bad) state.violation(`autocompletion of ${choices.length} choices is out of bounds`);
  return choices;
}

function interactionOf(request: RestRequest, state: RestState): StandInteraction {
  const interaction = [...state.interactions.values()].find((one) => one.token === request.parameters[1]);
  if (interaction === undefined || interaction.ackType === undefined) throw new Refusal(404, 10015, "Unknown Webhook");
  if (state.clock.now() - interaction.createdAt > tokenMsMax) throw new Refusal(401, 50027, "Invalid Webhook Token");
  return interaction;
}

function webhookMessage(request: RestRequest, state: RestState): StandMessage {
  const interaction = interactionOf(request, state);
  const wanted = request.parameters[2];
  const all = [...(interaction.original === undefined ? [] : [interaction.original]), ...interaction.followUps];
  const message = wanted === "@original" ? interaction.original : all.find((one) => one.id === wanted);
  if (message === undefined || message.deleted) throw new Refusal(404, 10008, "Unknown Message");
  return message;
}

function editByWebhook(request: RestRequest, state: RestState): unknown {
  const interaction = interactionOf(request, state);
  if (request.parameters[2] === "@original" && interaction.originalPending) {
    interaction.originalPending = false;
    interaction.original = addReply(interaction, request, state, request.body);
    return json(interaction.original, state);
  }
  return json(applyEdit(webhookMessage(request, state), request, state), state);
}

function followUp(request: RestRequest, state: RestState): unknown {
  const interaction = interactionOf(request, state);
  if (interaction.originalPending) state.violation("a follow-up came before the deferred reply was filled");
  if (interaction.userInstalledOnly && interaction.followUps.length >= followUpsUserInstalledMax) {
    throw new Refusal(400, 40094, "Maximum number of follow-up messages reached");
  }
  const message = addReply(interaction, request, state, request.body);
  interaction.followUps.push(message);
  return json(message, state);
}

function addReply(
  interaction: StandInteraction,
  request: RestRequest,
  state: RestState,
  data: JsonObject,
): StandMessage {
  const ephemeral = interaction.ephemeral || (Number(data.flags ?? 0) & 64) !== 0;
  const message = newMessage(interaction.channel, { ...request, body: data }, state);
  if (ephemeral) message.flags |= 64;
  message.interaction = {
    id: interaction.id,
    user: interaction.user,
    ...(interaction.name === undefined ? {} : { name: interaction.name }),
  };
  announce(message, state);
  return message;
}

function sendMessage(request: RestRequest, state: RestState): unknown {
  const channel = channelOf(request, state, "send");
  if (channel.recipient?.closedToDirectMessages === true)
    throw new Refusal(403, 50007, "Cannot send messages to this user");
  const { nonce, enforce_nonce } = request.body;
  const earlier = enforce_nonce === true ? state.world.nonces.get(`${channel.id} ${nonce}`) : undefined;
  if (earlier !== undefined) return json(earlier, state);
  const reference = request.body.message_reference as { message_id: string; fail_if_not_exists?: boolean } | undefined;
  if (reference !== undefined && channel.denied.has("history")) {
    throw new Refusal(403, 160002, "Cannot reply without permission to read message history");
  }
  const message = newMessage(channel, request, state);
  if (typeof nonce === "string") state.world.nonces.set(`${channel.id} ${nonce}`, message);
  if (reference !== undefined) {
    const target = state.world.message(reference.message_id);
    const exists = target !== undefined && !target.deleted;
    if (!exists && reference.fail_if_not_exists !== false) throw new Refusal(400, 50035, "Unknown message");
    if (exists) message.repliesTo = reference.message_id;
  }
  announce(message, state);
  return json(message, state);
}

function newMessage(channel: StandChannel, { body, files }: RestRequest, state: RestState): StandMessage {
  const at = state.clock.now();
  const content = String(body.content ?? "").trim();
  const message: StandMessage = {
    id: state.world.newId(),
    channelId: channel.id,
    author: state.world.bot,
    content,
    components: (body.components ?? []) as JsonObject[],
    attachments: [...files],
    flags: Number(body.flags ?? 0),
    at,
    mentions: [],
    versions: [{ content, at }],
    deleted: false,
  };
  channel.messages.push(message);
  return message;
}

function announce(message: StandMessage, state: RestState): void {
  if ((message.flags & 64) !== 0) return;
  const guildId = state.world.channel(message.channelId)?.guildId;
  const place = guildId === undefined ? {} : { guild_id: guildId };
  state.gateway().dispatch("MESSAGE_CREATE", { ...json(message, state), ...place });
}

function applyEdit(message: StandMessage, { body, files }: RestRequest, state: RestState): StandMessage {
  if (message.deleted) throw new Refusal(404, 10008, "Unknown Message");
  const at = state.clock.now();
  if (body.content !== undefined) {
    message.content = String(body.content ?? "").trim();
    message.versions.push({ content: message.content, at });
  }
  if (Array.isArray(body.components)) message.components = body.components as JsonObject[];
  if (Array.isArray(body.attachments)) {
    const kept = new Set((body.attachments as { id: string }[]).map((one) => one.id));
    message.attachments = [...message.attachments.filter((file) => kept.has(file.id)), ...files];
  }
  message.editedAt = at;
  return message;
}

function remove(message: StandMessage, state: RestState): undefined {
  message.deleted = true;
  const guildId = state.world.channel(message.channelId)?.guildId;
  const place = guildId === undefined ? {} : { guild_id: guildId };
  state.gateway().dispatch("MESSAGE_DELETE", { id: message.id, channel_id: message.channelId, ...place });
  return undefined;
}

function channelOf(request: RestRequest, { world }: RestState, need: "view" | "send"): StandChannel {
  const channel = world.channel(request.parameters[0]!);
  if (channel === undefined) throw new Refusal(404, 10003, "Unknown Channel");
  const guild = world.guildOf(channel);
  if (channel.denied.has("view") || guild?.botIsMember === false) throw new Refusal(403, 50001, "Missing Access");
  if (need === "send" && channel.denied.has("send")) throw new Refusal(403, 50013, "Missing Permissions");
  return channel;
}

function channelMessage(request: RestRequest, state: RestState, need: "view" | "send"): StandMessage {
  const channel = channelOf(request, state, need);
  const message = channel.messages.find((one) => one.id === request.parameters[1]);
  if (message === undefined || message.deleted) throw new Refusal(404, 10008, "Unknown Message");
  return message;
}

function listMessages(request: RestRequest, state: RestState): unknown {
  const channel = channelOf(request, state, "view");
  const before = BigInt(request.query.get("before") ?? "9223372036854775807");
  const limit = Number(request.query.get("limit") ?? 50);
  return channel.messages
    .filter((message) => !message.deleted && (message.flags & 64) === 0 && BigInt(message.id) < before)
    .slice(-limit)
    .reverse()
    .map((message) => json(message, state));
}

function openThread(request: RestRequest, state: RestState): unknown {
  const parent = channelOf(request, state, "send");
  const starter = channelMessage(request, state, "view");
  const guild = state.world.guildOf(parent)!;
  const thread = state.world.addChannel(guild, String(request.body.name), {
    type: 11,
    parentId: parent.id,
    id: starter.id,
  });
  state.gateway().dispatch("THREAD_CREATE", { ...channelJson(thread), newly_created: true });
  return channelJson(thread);
}

/** A message as the bot may see it. */
function json(message: StandMessage, state: RestState): JsonObject {
  return messageJson(message, state.world, state.url(), (one) => hidesContent(one, state));
}

/** Without the intent the bot reads its own messages, those that mention it, and direct ones. */
export function hidesContent(message: StandMessage, { world, gateway }: Pick<RestState, "world" | "gateway">): boolean {
  const direct = world.channel(message.channelId)?.type === 1;
  const own = message.author.id === world.bot.id || message.mentions.includes(world.bot.id);
  return !direct && !own && !gateway().hasMessageContent();
}
