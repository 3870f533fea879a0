/** A load generator for streamed chats, on bare sockets so that it costs little beside what it measures. */
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

export interface Target {
  port: number;
  /** Beside host, content type and length. */
  headers: Record<string, string>;
}

export interface StreamTimes {
  /** Request written to first token read, milliseconds. */
  firstTokenMs: number[];
  /** Streams that ended in `[DONE]` with all their tokens. */
  whole: number;
  /** All others. */
  broken: number;
  elapsedMs: number;
}

export interface LoadOptions {
  target: Target;
  /** Name of a script of bench/servers/upstream.mjs. */
  model: string;
  tokens: number;
  connections: number;
  /** Streams in all; each connection asks for the next when one has ended. */
  streams: number;
  /**
   * Up to so long, by chance, each connection waits before it asks; 0 when left out. Without it all connections ask at the
   * same moment, as their answers take equally long, and a first token waits for up to all other requests.
   */
  pauseMsMax?: number;
  /** Called when a stream has brought its first token. */
  onFirstToken?: () => void;
}

/** Asks for streams on connections that stay open, one after the other on each. */
export async function runLoad(options: LoadOptions): Promise<StreamTimes> {
  const times: StreamTimes = { firstTokenMs: [], whole: 0, broken: 0, elapsedMs: 0 };
  const request = renderRequest(options);
  let left = options.streams;
  const startedAt = performance.now();
  const worker = async () => {
    let socket: Socket | undefined;
    while (left-- > 0) {
      if (options.pauseMsMax !== undefined) await sleep(Math.random() * options.pauseMsMax);
      socket ??= await open(options.target.port);
      const { firstTokenMs, whole } = await ask(socket, request, options);
      if (firstTokenMs !== undefined) times.firstTokenMs.push(firstTokenMs);
      if (whole) times.whole++;
      else {
        times.broken++;
        socket.destroy();
        socket = undefined;
      }
    }
    socket?.destroy();
  };
  await Promise.all(Array.from({ length: options.connections }, worker));
  times.elapsedMs = performance.now() - startedAt;
  return times;
}

function renderRequest({ target, model }: LoadOptions): string {
  const body = JSON.stringify({
    model,
    messages: [
      { role: "system", content: "You answer in one paragraph." },
      { role: "user", content: "Why is the sky blue? Explain it to somebody who has never looked up." },
    ],
    stream: true,
    stream_options: { include_usage: true },
    max_tokens: 512,
    temperature: 0.7,
  });
  const headers = {
    host: `127.0.0.1:${target.port}`,
    "content-type": "application/json",
    "content-length": String(Buffer.byteLength(body)),
    ...target.headers,
  };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return `POST /v1/chat/completions HTTP/1.1\r\n${lines.join("")}\r\n${body}`;
}

function open(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true }, () => resolve(socket));
    socket.once("error", reject);
  });
}

/** Every token of the scripts is text that begins so. */
const tokenMark = Buffer.from('"content":" w');
const endMark = Buffer.from("\r\n0\r\n\r\n");

function ask(
  socket: Socket,
  request: string,
  { tokens, onFirstToken }: LoadOptions,
): Promise<{ firstTokenMs?: number; whole: boolean }> {
  return new Promise((resolve) => {
    const sentAt = performance.now();
    const parts: Buffer[] = [];
    let firstTokenMs: number | undefined;
    let tail: Buffer = Buffer.alloc(0);
    const read = (part: Buffer) => {
      parts.push(part);
      if (firstTokenMs === undefined && Buffer.concat(parts).includes(tokenMark)) {
        firstTokenMs = performance.now() - sentAt;
        onFirstToken?.();
      }
      tail = part.length >= endMark.length ? part : Buffer.concat([tail, part]).subarray(-64);
      if (tail.subarray(-endMark.length).equals(endMark)) end();
    };
    const end = () => {
      socket.off("data", read);
      socket.off("close", end);
      socket.off("error", end);
      const text = Buffer.concat(parts).toString("latin1");
      const seen = text.split('"content":" w').length - 1;
      const whole = text.startsWith("HTTP/1.1 200") && seen === tokens && text.includes("data: [DONE]");
      resolve(firstTokenMs === undefined ? { whole } : { firstTokenMs, whole });
    };
    socket.on("data", read);
    socket.on("close", end);
    socket.on("error", end);
    socket.write(request);
  });
}
