/** A chat's events as lines of JSON: how they cross from one part of a Worker to another, each line a list. */
import { type ChatEvent, isTerminal } from "../core/chat.ts";
import { AppError } from "../core/errors.ts";
import { keepAliveMs, streamLineCharsMax } from "../core/limits.ts";

export const eventLinesType = "application/x-ndjson";

/**
 * @param abort is called when the reader leaves
 * @returns a body that ends with the terminal event; an empty line now and then proves that both ends live
 */
export function renderEventLines(events: AsyncIterable<ChatEvent>, abort: () => void): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  const iterator = events[Symbol.asyncIterator]();
  let pending: Promise<IteratorResult<ChatEvent>> | undefined;
  return new ReadableStream<Uint8Array>(
    {
      async pull(stream) {
        pending ??= iterator.next();
        let timer: ReturnType<typeof setTimeout> | undefined;
        const silence = new Promise<"silence">((resolve) => {
          timer = setTimeout(() => resolve("silence"), keepAliveMs);
        });
        const result = await Promise.race([pending, silence]);
        clearTimeout(timer);
        if (result === "silence") {
          stream.enqueue(encoder.encode("\n"));
          return;
        }
        pending = undefined;
        if (result.done === true) {
          stream.close();
          return;
        }
        stream.enqueue(encoder.encode(`${JSON.stringify([result.value])}\n`));
        if (!isTerminal(result.value)) return;
        await iterator.return?.();
        stream.close();
      },
      cancel: abort,
    },
    { highWaterMark: 0 },
  );
}

/** Leaving the iteration early cancels the body. */
export async function* readEventLines(body: ReadableStream<Uint8Array>): AsyncGenerator<ChatEvent, void> {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
      rest = lines.pop()!;
      if (rest.length > streamLineCharsMax) throw new AppError("engine_unavailable", "An event was too long.");
      for (const line of lines) if (line !== "") yield* JSON.parse(line) as ChatEvent[];
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
