/** The parts of Cloudflare's runtime that are used, typed by hand: the rest of the product is typed for Node. */

/** One connection of a Durable Object; it stays open while the object sleeps. */
export interface ServerSocket {
  send(message: string): void;
  close(code?: number, reason?: string): void;
  /** Survives sleep; at most 16 KiB. */
  serializeAttachment(value: unknown): void;
  deserializeAttachment(): unknown;
}

export interface ObjectState {
  id: { name?: string; toString(): string };
  storage: {
    get<T>(key: string): Promise<T | undefined>;
    put(key: string, value: unknown): Promise<void>;
    delete(key: string): Promise<boolean>;
  };
  acceptWebSocket(socket: ServerSocket): void;
  getWebSockets(): ServerSocket[];
  /** Answered without waking the object. */
  setWebSocketAutoResponse(pair: object): void;
  getWebSocketAutoResponseTimestamp(socket: ServerSocket): Date | null;
  blockConcurrencyWhile<T>(work: () => Promise<T>): Promise<T>;
  waitUntil(work: Promise<unknown>): void;
}

export interface ObjectStub {
  fetch(url: string, init?: RequestInit): Promise<Response>;
}

export interface ObjectNamespace {
  idFromName(name: string): object;
  get(id: object): ObjectStub;
}

export interface QueueBinding<Message> {
  send(message: Message): Promise<void>;
}

export interface QueueBatch<Message> {
  queue: string;
  messages: readonly {
    id: string;
    attempts: number;
    body: Message;
    ack(): void;
    retry(options?: { delaySeconds?: number }): void;
  }[];
}

export interface RateLimitBinding {
  limit(options: { key: string }): Promise<{ success: boolean }>;
}

interface RuntimeGlobals {
  WebSocketPair: new () => { 0: unknown; 1: ServerSocket };
  WebSocketRequestResponsePair: new (request: string, response: string) => object;
  IdentityTransformStream: new () => { readable: ReadableStream<Uint8Array>; writable: WritableStream<Uint8Array> };
}

const runtime = globalThis as unknown as RuntimeGlobals;

export function createSocketPair(): { client: unknown; server: ServerSocket } {
  const pair = new runtime.WebSocketPair();
  return { client: pair[0], server: pair[1] };
}

/** The reply that hands the client its end of the pair. */
export function upgradeReply(client: unknown, protocol: string): Response {
  const init = { status: 101, webSocket: client, headers: { "sec-websocket-protocol": protocol } };
  return new Response(null, init as ResponseInit);
}

/** A reply of another part of the Worker, as one whose headers may be changed. */
export function passedOn(reply: Response): Response {
  const { status, headers } = reply;
  const { webSocket } = reply as { webSocket?: unknown };
  return new Response(reply.body, { status, headers, ...(webSocket == null ? {} : { webSocket }) } as ResponseInit);
}

export function autoResponse(request: string, response: string): object {
  return new runtime.WebSocketRequestResponsePair(request, response);
}

/** Bytes pass from end to end without waking the script. */
export function createPassage(): { readable: ReadableStream<Uint8Array>; writable: WritableStream<Uint8Array> } {
  return new runtime.IdentityTransformStream();
}
