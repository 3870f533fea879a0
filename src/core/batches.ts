/**
 * Events of an answer, several at a time: what arrived together travels together, which costs a fraction of passing on
 * one by one. A `ChatEngine` may give such a stream; who does not care reads it as any other.
 */
import type { ChatEvent } from "./chat.ts";

export interface BatchedEvents extends AsyncIterable<ChatEvent> {
  /** The same events, in order; none is empty. Either this or the iteration is read, once. */
  batches(): AsyncIterator<readonly ChatEvent[], void>;
}

/** A stream to be read either way. */
export function fromBatches(batches: AsyncGenerator<readonly ChatEvent[], void>): BatchedEvents {
  return {
    batches: () => batches,
    async *[Symbol.asyncIterator]() {
      for await (const batch of batches) yield* batch;
    },
  };
}

/** The batches of a stream; one that has none gives its events one by one. */
export function batchesOf(events: AsyncIterable<ChatEvent>): AsyncIterableIterator<readonly ChatEvent[], void> {
  const iterator = isBatched(events) ? events.batches() : oneByOne(events[Symbol.asyncIterator]());
  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    next: () => iterator.next(),
    return: async () => {
      await iterator.return?.();
      return { done: true, value: undefined };
    },
  };
}

function isBatched(events: AsyncIterable<ChatEvent>): events is BatchedEvents {
  return "batches" in events && typeof events.batches === "function";
}

function oneByOne(events: AsyncIterator<ChatEvent>): AsyncIterator<readonly ChatEvent[], void> {
  return {
    async next() {
      const { done, value } = await events.next();
      return done === true ? { done, value: undefined } : { done: false, value: [value] };
    },
    async return() {
      await events.return?.();
      return { done: true, value: undefined };
    },
  };
}
