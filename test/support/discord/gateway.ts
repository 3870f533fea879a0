/** The gateway half of the stand-in: identify, heartbeat, dispatch, drop, resume. */
import type { Server } from "node:http";
import { type WebSocket, WebSocketServer } from "ws";
import type { JsonObject } from "./rules.ts";
import { guildJson, userJson, type World } from "./world.ts";

export interface GatewayRules {
  token: string;
  /** Privileged intents switched on for the application. */
  allowedPrivileged: number;
  applicationId: string;
  url: () => string;
  onChange: () => void;
  violation: (text: string) => void;
}

interface Session {
  id: string;
  intents: number;
  sequence: number;
  /** Everything dispatched, for those who resume. */
  sent: { s: number; t: string; d: JsonObject }[];
  socket: WebSocket | undefined;
}

const messageContent = 1 << 15;
const privileged = (1 << 1) | (1 << 8) | messageContent;
const guildMessages = 1 << 9;
const directMessages = 1 << 12;

export class Gateway {
  readonly #world: World;
  readonly #rules: GatewayRules;
  readonly #sessions: Session[] = [];
  readonly #server: WebSocketServer;
  identifyCount = 0;
  resumeCount = 0;

  constructor(http: Server, world: World, rules: GatewayRules) {
    this.#world = world;
    this.#rules = rules;
    this.#server = new WebSocketServer({ server: http });
    this.#server.on("connection", (socket) => this.#welcome(socket));
  }

  get intents(): number {
    return this.#sessions.at(-1)?.intents ?? 0;
  }

  get isConnected(): boolean {
    return this.#sessions.some((session) => session.socket !== undefined);
  }

  hasMessageContent(): boolean {
    return (this.intents & messageContent) !== 0;
  }

  /** Closes every connection; clients may resume after 4000. */
  drop(code: number): void {
    for (const socket of this.#server.clients) socket.close(code);
  }

  close(): void {
    for (const socket of this.#server.clients) socket.terminate();
    this.#server.close();
  }

  /** Sent to sessions that asked for such events; kept for those that are away. */
  dispatch(type: string, data: JsonObject): void {
    for (const session of this.#sessions) {
      if (!wants(session, type, data)) continue;
      session.sequence++;
      const packet = { s: session.sequence, t: type, d: data };
      session.sent.push(packet);
      session.socket?.send(JSON.stringify({ op: 0, ...packet }));
    }
    this.#rules.onChange();
  }

  #welcome(socket: WebSocket): void {
    socket.send(JSON.stringify({ op: 10, d: { heartbeat_interval: 41_250 } }));
    let received = 0;
    socket.on("message", (raw: Buffer) => {
      received++;
      if (raw.length > 4096) this.#rules.violation(`a gateway payload of ${raw.length} bytes`);
      if (received > 120) this.#rules.violation("over 120 gateway payloads on one connection");
      const { op, d } = JSON.parse(raw.toString()) as { op: number; d: JsonObject };
      if (op === 1) socket.send(JSON.stringify({ op: 11 }));
      else if (op === 2) this.#identify(socket, d);
      else if (op === 6) this.#resume(socket, d);
    });
    socket.on("close", () => {
      for (const session of this.#sessions) if (session.socket === socket) session.socket = undefined;
      this.#rules.onChange();
    });
  }

  #identify(socket: WebSocket, data: JsonObject): void {
    this.identifyCount++;
    const intents = Number(data.intents);
    if (data.token !== this.#rules.token) {
      socket.close(4004);
      return;
    }
    if ((intents & privileged & ~this.#rules.allowedPrivileged) !== 0) {
      socket.close(4014);
      return;
    }
    const session: Session = { id: `session-${this.identifyCount}`, intents, sequence: 0, sent: [], socket };
    this.#sessions.push(session);
    const guilds = this.#world.guilds.filter((guild) => guild.botIsMember);
    const send = (t: string, d: JsonObject) => {
      session.sequence++;
      socket.send(JSON.stringify({ op: 0, s: session.sequence, t, d }));
    };
    send("READY", {
      v: 10,
      user: userJson(this.#world.bot),
      guilds: guilds.map(({ id }) => ({ id, unavailable: true })),
      session_id: session.id,
      resume_gateway_url: this.#rules.url(),
      application: { id: this.#rules.applicationId, flags: 0 },
      shard: [0, 1],
    });
    for (const guild of guilds) send("GUILD_CREATE", guildJson(guild, this.#world.bot, this.#world.users));
    this.#rules.onChange();
  }

  #resume(socket: WebSocket, data: JsonObject): void {
    const session = this.#sessions.find((one) => one.id === data.session_id);
    if (session === undefined) {
      socket.send(JSON.stringify({ op: 9, d: false }));
      return;
    }
    this.resumeCount++;
    session.socket = socket;
    for (const packet of session.sent) {
      if (packet.s > Number(data.seq)) socket.send(JSON.stringify({ op: 0, ...packet }));
    }
    session.sequence++;
    socket.send(JSON.stringify({ op: 0, s: session.sequence, t: "RESUMED", d: {} }));
    this.#rules.onChange();
  }
}

function wants(session: Session, type: string, data: JsonObject): boolean {
  if (!type.startsWith("MESSAGE_")) return true;
  return (session.intents & (data.guild_id === undefined ? directMessages : guildMessages)) !== 0;
}
