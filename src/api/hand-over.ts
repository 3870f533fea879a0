/**
 * An admitted request given away whole: whoever holds the engine's connection answers the client and completes the
 * ledger's row. What is in between passes bytes on and reads none of them, which on Workers costs a quarter.
 */
import type { ChatEvent } from "../core/chat.ts";
import type { DeltaRelay } from "../core/delta-relay.ts";
import type { ErrorFacts } from "../core/errors.ts";
import type { ChatEngine, Clock, Logger, UsageAdmission, UsageReceipt } from "../core/ports.ts";
import type { StreamResponder } from "../http/answer-stream.ts";
import type { ChatCall } from "../http/chat-request.ts";
import { withDeadlines } from "../http/deadlines.ts";
import { type AnswerDialect, answerChat } from "../http/server.ts";
import { meterChat } from "./usage/meter.ts";

export interface AnswerJob {
  call: ChatCall;
  admission: UsageAdmission;
  requestId: string;
  /** Stands in answers and rows; left out: what the engine calls itself. */
  engineName?: string;
  /** The `idPrefix` of the form it was asked in. */
  form: string;
  /** Of the key's quotas, where it has any. */
  ticket?: { keyId: string; ticket: string };
}

export interface JobReply {
  /** What the client gets. */
  response: Response;
  /** Resolves when the body has been passed on, or broke. Never rejects. */
  ended: Promise<void>;
  /** Set when it failed before it began: then the row is still open, and another engine may be asked. */
  refused?: { error: ErrorFacts; receipt: UsageReceipt };
}

/** An engine that takes whole requests. */
export interface JobEngine extends ChatEngine {
  /** Never rejects. */
  answerJob(job: AnswerJob, signal: AbortSignal): Promise<JobReply>;
}

export function isJobEngine(engine: ChatEngine): engine is JobEngine {
  return "answerJob" in engine;
}

export interface JobRun {
  engine: ChatEngine;
  dialect?: AnswerDialect;
  /** Writes the receipt of an answer that began, and tells the quota. */
  settle(receipt: UsageReceipt): Promise<void>;
  clock: Clock;
  logger: Logger;
  signal: AbortSignal;
  /**
   * Longest wait for the first event of a stream. Then its status is spent on a comment: only who writes learns that a
   * client has left.
   */
  commitMs: number;
  respond?: StreamResponder;
}

export interface JobAnswer {
  response: Response;
  refused?: { error: ErrorFacts; receipt: UsageReceipt };
  /** Resolves when the row is complete. */
  settled: Promise<void>;
}

/** The other end: answers the client in place of who was asked. */
export async function runAnswerJob(job: AnswerJob, run: JobRun): Promise<JobAnswer> {
  const { call, admission, requestId } = job;
  const { signal, clock, logger } = run;
  let begun = false;
  let held: UsageReceipt | undefined;
  let error: ErrorFacts | undefined;
  let settled: Promise<void> = Promise.resolve();
  const ask = (inner: AbortSignal, relay: DeltaRelay): AsyncIterable<ChatEvent> => {
    const speak = (seen: DeltaRelay | undefined) => {
      const events = withDeadlines(call.request.terms ?? {}, inner, (timed) =>
        run.engine.chat(call.request, { signal: timed, relay: seen }),
      );
      const spoken = call.stream ? withSignOfLife(events, run.commitMs) : events;
      return job.engineName === undefined ? spoken : named(spoken, job.engineName);
    };
    const metered = meterChat(speak, {
      relay,
      id: admission.id,
      at: admission.at,
      clock,
      logger,
      signal: inner,
      onEvent(event) {
        // A place in line commits a stream's status, and nothing else.
        if (event.type === "start" || (event.type === "queued" && call.stream)) begun = true;
        if (event.type === "error") error = event.error;
      },
      store: {
        async settle(receipt) {
          // Nobody asks another engine for a client that left.
          if (begun || inner.aborted) await run.settle(receipt);
          else held = receipt;
        },
      },
    });
    settled = metered.settled;
    return metered.events;
  };
  const response = await answerChat(call, ask, {
    id: admission.id,
    created: Math.floor(admission.at / 1000),
    clientSignal: signal,
    requestId,
    respond: run.respond,
    ...(run.dialect === undefined ? {} : { dialect: run.dialect }),
    onFault: (cause) => logger.error("A chat engine broke its contract.", { requestId, cause }),
  });
  const refused = held === undefined || error === undefined ? {} : { refused: { error, receipt: held } };
  return { response, settled, ...refused };
}

/** A place in line of 0: its turn has come, and the prompt is being read. */
async function* withSignOfLife(events: AsyncIterable<ChatEvent>, ms: number): AsyncGenerator<ChatEvent, void> {
  const iterator = events[Symbol.asyncIterator]();
  const first = iterator.next();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const silence = new Promise<"silence">((resolve) => {
    timer = setTimeout(() => resolve("silence"), ms);
  });
  try {
    if ((await Promise.race([first, silence])) === "silence") yield { type: "queued", position: 0 };
    clearTimeout(timer);
    for (let result = await first; result.done !== true; result = await iterator.next()) yield result.value;
  } finally {
    clearTimeout(timer);
    await iterator.return?.();
  }
}

async function* named(events: AsyncIterable<ChatEvent>, engineId: string): AsyncGenerator<ChatEvent, void> {
  for await (const event of events) {
    yield event.type === "start" ? { ...event, producer: { ...event.producer, engineId } } : event;
  }
}
