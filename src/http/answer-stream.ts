/** A chat's events up to its last one, and as the body of a response whose status is spent. */
import { batchesOf } from "../core/batches.ts";
import { type ChatEvent, isTerminal } from "../core/chat.ts";
import { AppError, toAppError } from "../core/errors.ts";
import { abortReportMsMax } from "../core/limits.ts";
import { renderSseComment } from "./sse.ts";

/** Reads to the terminal event, which there always is: a throw or an early end becomes an error event. */
export interface AnswerEvents {
  /** Never rejects; undefined after the terminal event. */
  next(): Promise<readonly ChatEvent[] | undefined>;
  /** No more is read; the engine is told. */
  leave(): Promise<void>;
}

/**
 * @param ended called once, when nothing more is to come
 * @param onFault what an engine threw in breach of its contract
 */
export function readToTerminal(
  events: AsyncIterable<ChatEvent>,
  ended: () => void,
  onFault?: (thrown: unknown) => void,
): AnswerEvents {
  const batches = batchesOf(events);
  let over = false;

  const end = () => {
    over = true;
    ended();
  };
  const leave = async () => {
    if (!over) end();
    await batches.return?.();
  };
  return {
    async next() {
      if (over) return undefined;
      try {
        const { done, value } = await batches.next();
        // Two may read at once when a client leaves; the other one saw the end.
        if (over) return undefined;
        if (done === true) throw new AppError("internal", "The engine stopped without ending its answer.");
        const last = value.findIndex(isTerminal);
        if (last < 0) return value;
        leave().catch((thrown) => onFault?.(thrown));
        return last === value.length - 1 ? value : value.slice(0, last + 1);
      } catch (thrown) {
        if (!over) end();
        onFault?.(thrown);
        return [{ type: "error", error: toAppError(thrown).toFacts() }];
      }
    },
    leave,
  };
}

export interface AnswerStreamOptions {
  /** Server-sent frames of each event, in order; the terminal event's frames are the last. */
  writer: { write(event: ChatEvent): Iterable<string> };
  /** Aborts when the client leaves, and is aborted by cancelling the body. */
  controller: AbortController;
  /** Longest silence before a comment is sent. */
  keepAliveMs: number;
  onFault?: ((thrown: unknown) => void) | undefined;
}

/** @param first what was read before the status was spent */
export function streamAnswer(
  first: readonly ChatEvent[],
  events: AnswerEvents,
  { writer, controller, keepAliveMs, onFault }: AnswerStreamOptions,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let pulling = false;
  let closed = false;
  let silences: ReturnType<typeof setInterval> | undefined;
  let leave = () => {};

  const render = (batch: readonly ChatEvent[]): Uint8Array => {
    let text = "";
    for (const event of batch) for (const frame of writer.write(event)) text += frame;
    return encoder.encode(text);
  };
  const close = (stream?: ReadableStreamDefaultController<Uint8Array>) => {
    if (closed) return;
    closed = true;
    clearInterval(silences);
    controller.signal.removeEventListener("abort", leave);
    stream?.close();
  };

  return new ReadableStream<Uint8Array>(
    {
      start(stream) {
        // One timer per stream, not per token.
        silences = setInterval(() => {
          if (pulling && !closed) stream.enqueue(encoder.encode(renderSseComment("keep-alive")));
        }, keepAliveMs);
        leave = () => {
          exhaust(events)
            .catch((thrown) => onFault?.(thrown))
            .finally(() => close(stream));
        };
        stream.enqueue(render(first));
        if (isTerminal(first.at(-1)!)) close(stream);
        else if (controller.signal.aborted) leave();
        else controller.signal.addEventListener("abort", leave, { once: true });
      },
      async pull(stream) {
        pulling = true;
        const batch = await events.next();
        pulling = false;
        if (closed) return;
        if (batch !== undefined) stream.enqueue(render(batch));
        if (batch === undefined || isTerminal(batch.at(-1)!)) close(stream);
      },
      cancel() {
        if (closed) return;
        controller.abort();
        close();
      },
    },
    // One batch per pull: a slow reader slows the engine instead of filling memory.
    { highWaterMark: 0 },
  );
}

/** Reads what an aborted engine still says; one that goes on talking is left after a while. */
async function exhaust(events: AnswerEvents): Promise<void> {
  let patient = true;
  const timer = setTimeout(() => {
    patient = false;
  }, abortReportMsMax);
  while (patient && (await events.next()) !== undefined);
  clearTimeout(timer);
  await events.leave();
}
