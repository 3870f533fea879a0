/**
 * Answers written straight to Node's sockets. A web stream in between costs more than all the rest of a short answer:
 * docs/decisions/2026-11-20-own-transport-on-node.md
 */
import type { ServerResponse } from "node:http";
import type { AnswerSource, StreamResponder } from "../http/answer-stream.ts";

/** Which responses are to be filled from where, until the listener takes them. */
const sources = new WeakMap<Response, AnswerSource>();

/** A response with headers only; whoever serves it must look for its source. */
export const respondWithSource: StreamResponder = (source, headers) => {
  const response = new Response("", { headers });
  sources.set(response, source);
  return response;
};

/** What fills this response; undefined for one that is whole by itself. */
export function sourceOf(response: Response): AnswerSource | undefined {
  return sources.get(response);
}

/** Head and first piece leave in one write, the last piece with the end. */
export function writeAnswer(source: AnswerSource, response: Response, outgoing: ServerResponse): void {
  outgoing.writeHead(response.status, Object.fromEntries(response.headers));
  // From here on nothing holds the response and its headers: an answer may take minutes.
  void writePieces(source, outgoing);
}

async function writePieces(source: AnswerSource, outgoing: ServerResponse): Promise<void> {
  let waiting = false;
  const silences = setInterval(() => {
    if (waiting) outgoing.write(source.keepAlive);
  }, source.keepAliveMs);
  const leave = () => {
    clearInterval(silences);
    source.leave();
  };
  outgoing.on("close", leave);
  source.writeStraight(
    () => waiting && !outgoing.writableNeedDrain && !outgoing.destroyed && outgoing.socket?.writableNeedDrain !== true,
    (frames) => writeChunk(frames, outgoing),
  );
  while (!source.ended && !outgoing.destroyed) {
    waiting = true;
    const text = await source.read();
    waiting = false;
    if (source.ended) outgoing.end(text);
    else if (text !== undefined && !outgoing.write(text)) await drained(outgoing);
  }
  clearInterval(silences);
}

/**
 * A piece of a body whose head has left, as one write: Node's own makes four of it and holds them to the end of the turn,
 * which costs more than all the rest of a token. What Node holds back itself goes before it, as both end in one socket.
 */
function writeChunk(frames: string, outgoing: ServerResponse): void {
  const { socket } = outgoing;
  // No socket: another answer on this connection is not whole yet. Not chunked: a client of HTTP/1.0.
  if (!outgoing.chunkedEncoding || socket?.writable !== true) return void outgoing.write(frames);
  const bytes = Buffer.byteLength(frames);
  socket.write(`${bytes.toString(16)}\r\n${frames}\r\n`, bytes === frames.length ? "latin1" : "utf8");
}

/** Resolves when the reader has caught up or is gone. */
function drained(outgoing: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      outgoing.off("drain", done);
      outgoing.off("close", done);
      resolve();
    };
    outgoing.once("drain", done);
    outgoing.once("close", done);
  });
}
