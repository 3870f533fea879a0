/**
 * One engine on Workers: a Durable Object answers clients in the Worker's stead, which passes the bytes on unread. For an
 * engine that dials in it also holds the connection and its state. While nothing is asked it sleeps and the connection
 * stays open; the runtime answers the engine's pings without waking it.
 */

import { withAdminSecret } from "../api/auth.ts";
import { chatForms } from "../api/chat.ts";
import { type AnswerJob, runAnswerJob } from "../api/hand-over.ts";
import { createKeyStore } from "../api/key-store.ts";
import { createLinkHub, type LinkConnection, type LinkHub } from "../api/link-hub.ts";
import { createUsageStore } from "../api/usage/store.ts";
import type { ChatEvent, ChatRequest } from "../core/chat.ts";
import { AppError, toAppError } from "../core/errors.ts";
import { keepAliveMs, linkKeyLookMs } from "../core/limits.ts";
import type { ChatEngine, KeyStore, UsageReceipt, UsageStore } from "../core/ports.ts";
import { eventLinesType, renderEventLines } from "../http/event-lines.ts";
import { type LinkCall, linkPing, linkPong, linkProtocol } from "../http/link-frames.ts";
import type { LinkRegistration } from "../http/link-session.ts";
import { toVectorsResult } from "../http/link-vectors.ts";
import { createD1Database } from "./d1.ts";
import { systemTimer } from "./timer.ts";
import { type EngineAddress, openAddress } from "./worker-engines.ts";
import type { WorkerEnvironment } from "./worker-environment.ts";
import { workerLogger } from "./worker-logger.ts";
import { settleTicket } from "./worker-quota.ts";
import { respondOverPassage } from "./worker-streams.ts";
import {
  autoResponse,
  createSocketPair,
  type ObjectState,
  type ServerSocket,
  upgradeReply,
} from "./workers-runtime.ts";

/** What a connection keeps while the object sleeps; models and facts are too long for it and stand in the storage. */
interface Attachment {
  name: string;
  keyId: string;
  /** When it last said something that woke the object. */
  at: number;
  health?: LinkRegistration["health"];
}

/** On a reply that failed before it began: what failed, and the receipt that is not written yet. */
export const refusedHeader = "x-snug-refused";

/** Members of a registration that change seldom; written to the storage when they do. */
const storedKey = "registration";

export class EngineLink {
  readonly #state: ObjectState;
  readonly #environment: WorkerEnvironment;
  readonly #keyStore: KeyStore;
  readonly #usageStore: UsageStore;
  readonly #hub: LinkHub;
  readonly #connections = new Map<ServerSocket, LinkConnection>();
  /** Answers by the id their asker gave them. */
  readonly #running = new Map<string, AbortController>();
  #stored = "";
  #keyLookedAt = 0;

  constructor(state: ObjectState, environment: WorkerEnvironment) {
    this.#state = state;
    this.#environment = environment;
    const database = createD1Database(environment.DB);
    this.#usageStore = createUsageStore(database);
    const keyStore = createKeyStore(database);
    const { SNUG_ADMIN_KEY: admin } = environment;
    this.#keyStore = admin === undefined || admin === "" ? keyStore : withAdminSecret(keyStore, admin);
    this.#hub = createLinkHub({
      timer: systemTimer,
      logger: workerLogger,
      onState: (registration) => this.#keep(registration),
    });
    state.setWebSocketAutoResponse(autoResponse(linkPing, linkPong));
    void state.blockConcurrencyWhile(() => this.#restore());
  }

  async fetch(request: Request): Promise<Response> {
    try {
      return await this.#route(request);
    } catch (thrown) {
      const error = toAppError(thrown);
      if (error.code === "internal") workerLogger.error("An engine's link failed.", { cause: thrown });
      return Response.json({ error: error.toFacts() }, { status: error.status });
    }
  }

  webSocketMessage(socket: ServerSocket, message: string | ArrayBuffer): void {
    this.#connections.get(socket)?.receive(message);
  }

  webSocketClose(socket: ServerSocket, code: number): void {
    this.#connections.get(socket)?.closed();
    this.#connections.delete(socket);
    // Answers the other end's close; 1005 and 1006 are no codes to send.
    if (code === 1000 || code === 1001 || code >= 3000) socket.close(code);
  }

  webSocketError(socket: ServerSocket): void {
    this.#connections.get(socket)?.closed();
    this.#connections.delete(socket);
  }

  async #route(request: Request): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    const name = searchParams.get("engine") ?? "";
    if (pathname === "/connect") return this.#connect(name, searchParams.get("key") ?? "");
    if (pathname === "/remove") {
      this.#hub.remove(name);
      return Response.json({});
    }
    const engine = this.#hub.engine(name);
    if (pathname === "/keys") this.#keyLookedAt = 0;
    await this.#lookAtKeys();
    if (pathname === "/keys") return Response.json({});
    if (pathname === "/state") {
      const health = await engine.health();
      const models = health.state === "stopped" ? [] : await engine.models();
      return Response.json({ health, models, facts: await engine.facts?.() });
    }
    if (pathname === "/chat") return this.#chat(engine, await read<ChatAsked>(request), request.signal);
    if (pathname === "/answer") {
      const { job, address } = await read<{ job: AnswerJob; address?: EngineAddress }>(request);
      return await this.#answer(address === undefined ? engine : openAddress(address), job, request.signal);
    }
    if (pathname === "/cancel") {
      this.#running.get((await read<{ id: string }>(request)).id)?.abort();
      return Response.json({});
    }
    if (pathname === "/call")
      return Response.json(await runCall(engine, await read<LinkCall>(request), request.signal));
    throw new AppError("not_found", `An engine's link has no ${pathname}.`);
  }

  #connect(name: string, keyId: string): Response {
    const { client, server } = createSocketPair();
    this.#state.acceptWebSocket(server);
    server.serializeAttachment({ name, keyId, at: Date.now() } satisfies Attachment);
    this.#connections.set(server, this.#hub.accept(openSocket(server), { name, keyId }));
    return upgradeReply(client, linkProtocol);
  }

  #chat(engine: ChatEngine, { id, request }: ChatAsked, signal: AbortSignal): Response {
    const leaving = new AbortController();
    this.#running.set(id, leaving);
    const leave = () => leaving.abort();
    signal.addEventListener("abort", leave, { once: true });
    const events = until(engine.chat(request, { signal: leaving.signal }), () => this.#running.delete(id));
    return new Response(renderEventLines(events, leave), { headers: { "content-type": eventLinesType } });
  }

  /** In place of the Worker that admitted the request, which passes the bytes on unread. */
  async #answer(engine: ChatEngine, job: AnswerJob, signal: AbortSignal): Promise<Response> {
    const dialect = chatForms.get(job.form)?.dialect;
    const { response, refused, settled } = await runAnswerJob(job, {
      engine,
      clock: systemTimer,
      logger: workerLogger,
      signal,
      commitMs: keepAliveMs,
      respond: respondOverPassage,
      settle: (receipt) => this.#settle(job, receipt),
      ...(dialect === undefined ? {} : { dialect }),
    });
    this.#state.waitUntil(settled);
    if (refused !== undefined) response.headers.set(refusedHeader, encodeURIComponent(JSON.stringify(refused)));
    return response;
  }

  /** A ledger that does not take it now gets it from the queue. */
  async #settle({ ticket }: AnswerJob, receipt: UsageReceipt): Promise<void> {
    const { promptTokens = 0, completionTokens = 0 } = receipt.usage;
    const { RECEIPTS, KEY_QUOTA } = this.#environment;
    await Promise.all([
      this.#usageStore.settle(receipt).catch(() => RECEIPTS.send(receipt)),
      ticket === undefined ? undefined : settleTicket(KEY_QUOTA, ticket, promptTokens + completionTokens),
    ]);
  }

  /** A revoked key ends its connections when somebody next looks, at most so often. */
  async #lookAtKeys(): Promise<void> {
    const now = Date.now();
    if (now - this.#keyLookedAt < linkKeyLookMs) return;
    this.#keyLookedAt = now;
    await this.#hub.tidy(this.#keyStore);
  }

  #keep(registration: LinkRegistration): void {
    for (const socket of this.#state.getWebSockets()) {
      const attached = socket.deserializeAttachment() as Attachment;
      socket.serializeAttachment({ ...attached, at: Date.now(), health: registration.health } satisfies Attachment);
    }
    // How busy it is changes with every request and stands in the attachment; writing rows for it would cost money.
    const { health, ...kept } = registration;
    const text = JSON.stringify(kept);
    if (text === this.#stored) return;
    this.#stored = text;
    this.#state.waitUntil(this.#state.storage.put(storedKey, registration));
  }

  /** Back from sleep, or in a new process after an update of the runtime. */
  async #restore(): Promise<void> {
    const sockets = this.#state.getWebSockets();
    if (sockets.length === 0) return;
    const stored = await this.#state.storage.get<LinkRegistration>(storedKey);
    if (stored !== undefined) {
      const { health, ...kept } = stored;
      this.#stored = JSON.stringify(kept);
    }
    for (const socket of sockets) {
      const { name, keyId, at, health } = socket.deserializeAttachment() as Attachment;
      const heardAt = () => Math.max(at, this.#state.getWebSocketAutoResponseTimestamp(socket)?.getTime() ?? 0);
      const known = stored === undefined || health === undefined ? {} : { registration: { ...stored, health } };
      this.#connections.set(socket, this.#hub.accept(openSocket(socket), { name, keyId }, { ...known, heardAt }));
    }
  }
}

interface ChatAsked {
  id: string;
  request: ChatRequest;
}

/** What other parts of this Worker send is as they say. */
async function read<T>(request: Request): Promise<T> {
  return (await request.json()) as T;
}

async function* until(events: AsyncIterable<ChatEvent>, ended: () => void): AsyncGenerator<ChatEvent, void> {
  try {
    yield* events;
  } finally {
    ended();
  }
}

/** A socket that closed in the same moment takes nothing more, and the session hears of it by another way. */
function openSocket(socket: ServerSocket) {
  const quietly = (work: () => void) => {
    try {
      work();
    } catch (cause) {
      workerLogger.debug("A closed link was written to.", { cause });
    }
  };
  return {
    send: (message: string) => quietly(() => socket.send(message)),
    close: (code: number, reason: string) => quietly(() => socket.close(code, reason)),
  };
}

async function runCall(engine: ChatEngine, { method, request }: LinkCall, signal: AbortSignal): Promise<object> {
  if (method === "embed") return toVectorsResult(await engine.embed!(request, { signal }));
  return method === "rerank" ? await engine.rerank!(request, { signal }) : await engine.operate!(request);
}
