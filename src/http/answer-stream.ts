/** A chat's events up to its last one, and as what is written to a client whose status is spent. */
import { batchesOf } from "../core/batches.ts";
import { type ChatEvent, isTerminal } from "../core/chat.ts";
import type { OpenRelay } from "../core/delta-relay.ts";
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

/** An answer whose status is spent, piece by piece, for whoever writes it to the client. */
export interface AnswerSource {
  /** The next frames; undefined after the last. One read at a time: a slow reader slows the engine. Never rejects. */
  read(): Promise<string | undefined>;
  /**
   * From now on frames may also be written while `read` waits, without it.
   *
   * @param isReady whether the client has taken everything before; asked right before each `write`
   */
  writeStraight(isReady: () => boolean, write: (frames: string) => void): void;
  /** True once the last piece was read. */
  readonly ended: boolean;
  /** The client left: the engine stops, and what it still says is read without anybody listening. */
  leave(): void;
  /** Longest silence before `keepAlive` is sent. */
  keepAliveMs: number;
  keepAlive: string;
}

/** Makes the response of an answer; runtimes that can write to a socket themselves have one of their own. */
export type StreamResponder = (source: AnswerSource, headers: Record<string, string>) => Response;

/** Who waits for an answer. */
export class AnswerClient {
  left = false;
  /** Called once, when the client leaves. */
  onLeave: (() => void) | undefined;
  readonly #controller = new AbortController();

  /** Aborts when the client leaves or the answer is cancelled. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  readonly leave = () => {
    if (this.left) return;
    this.left = true;
    this.#controller.abort();
    this.onLeave?.();
  };

  /** Ends the answer for a client that stays, and is told so. */
  readonly cancel = () => this.#controller.abort();
}

export interface AnswerSourceOptions {
  /** Server-sent frames of each event, in order; the terminal event's frames are the last. */
  writer: { write(event: ChatEvent): Iterable<string> };
  client: AnswerClient;
  keepAliveMs: number;
  onFault?: ((thrown: unknown) => void) | undefined;
  /** What the engine was given for its deltas. */
  relay: OpenRelay;
}

/** @param first what was read before the status was spent */
export function createAnswerSource(
  first: readonly ChatEvent[],
  events: AnswerEvents,
  options: AnswerSourceOptions,
): AnswerSource {
  return new EventsAsSource(first, events, options);
}

const keepAlive = renderSseComment("keep-alive");

class EventsAsSource implements AnswerSource {
  ended = false;
  readonly keepAlive = keepAlive;
  readonly keepAliveMs: number;
  #pending: readonly ChatEvent[] | undefined;
  readonly #events: AnswerEvents;
  readonly #options: AnswerSourceOptions;

  constructor(first: readonly ChatEvent[], events: AnswerEvents, options: AnswerSourceOptions) {
    this.keepAliveMs = options.keepAliveMs;
    this.#pending = first;
    this.#events = events;
    this.#options = options;
    if (options.client.left) this.#drain();
    else options.client.onLeave = this.#drain;
  }

  async read(): Promise<string | undefined> {
    if (this.ended) return undefined;
    const batch = this.#pending ?? (await this.#events.next());
    this.#pending = undefined;
    if (batch === undefined || isTerminal(batch.at(-1)!)) {
      this.ended = true;
      this.#options.client.onLeave = undefined;
    }
    return batch === undefined ? undefined : this.#render(batch);
  }

  writeStraight(isReady: () => boolean, write: (frames: string) => void): void {
    const { relay, client } = this.#options;
    relay.end = {
      take: (deltas) => {
        if (this.ended || client.left || !isReady()) return false;
        write(this.#render(deltas));
        return true;
      },
    };
  }

  leave(): void {
    if (!this.ended) this.#options.client.leave();
  }

  #render(batch: readonly ChatEvent[]): string {
    const { writer } = this.#options;
    let text = "";
    for (const event of batch) for (const frame of writer.write(event)) text += frame;
    return text;
  }

  readonly #drain = () => void exhaust(this.#events).catch((thrown) => this.#options.onFault?.(thrown));
}

/** A response over a web stream, for every runtime. */
export const streamOverWeb: StreamResponder = (source, headers) => {
  const encoder = new TextEncoder();
  let reading = false;
  let silences: ReturnType<typeof setInterval> | undefined;
  const body = new ReadableStream<Uint8Array>(
    {
      start(stream) {
        // One timer per stream, not per token.
        silences = setInterval(() => {
          if (reading) stream.enqueue(encoder.encode(source.keepAlive));
        }, source.keepAliveMs);
      },
      async pull(stream) {
        reading = true;
        const text = await source.read();
        // Cancelled in the meantime.
        if (!reading) return;
        reading = false;
        if (text !== undefined) stream.enqueue(encoder.encode(text));
        if (!source.ended) return;
        clearInterval(silences);
        stream.close();
      },
      cancel() {
        reading = false;
        clearInterval(silences);
        source.leave();
      },
    },
    // One piece per pull: a slow reader slows the engine instead of filling memory.
    { highWaterMark: 0 },
  );
  return new Response(body, { headers });
};

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
