/**
 * The body of an answer on Workers. It goes through one of the runtime's own passages: when the client has left, a write
 * into it fails. A stream made by the script is not told in every case (workerd 1.20260426: neither by `cancel` nor by the
 * request's signal when a write was under way), and its engine would go on for nobody.
 */
import type { AnswerSource, StreamResponder } from "../http/answer-stream.ts";
import { createPassage } from "./workers-runtime.ts";

export const respondOverPassage: StreamResponder = (source, headers) => {
  const { readable, writable } = createPassage();
  void write(source, writable.getWriter());
  return new Response(readable, { headers });
};

/** A slow client is waited for like any other reader, which slows the engine. */
const behindMax = 4;

/** Never rejects. */
async function write(source: AnswerSource, writer: WritableStreamDefaultWriter<Uint8Array>): Promise<void> {
  const encoder = new TextEncoder();
  const leave = () => source.leave();
  writer.closed.catch(leave);
  let reading = false;
  /** Pieces the client's end has not taken. */
  let behind = 0;
  const taken = () => {
    behind--;
  };
  source.writeStraight(
    () => reading && behind < behindMax,
    (text) => {
      behind++;
      writer.write(encoder.encode(text)).then(taken, leave);
    },
  );
  // One timer per stream, not per token.
  const silences = setInterval(() => {
    if (reading) writer.write(encoder.encode(source.keepAlive)).catch(leave);
  }, source.keepAliveMs);
  try {
    while (!source.ended) {
      reading = true;
      const text = await source.read();
      reading = false;
      if (text !== undefined) await writer.write(encoder.encode(text));
    }
    await writer.close();
  } catch {
    leave();
  } finally {
    clearInterval(silences);
  }
}
