/** One chat through the API: let in, answered by an engine, and written down however it ends. */
import type { Context } from "hono";
import type { ChatEvent, ChatRequest } from "../core/chat.ts";
import type { DeltaRelay } from "../core/delta-relay.ts";
import { requestBodyBytesMax } from "../core/limits.ts";
import type { ChatEngine, Logger } from "../core/ports.ts";
import type { StreamResponder } from "../http/answer-stream.ts";
import { type ChatCall, parseChatCall } from "../http/chat-request.ts";
import { completionsDialect, parseCompletionCall } from "../http/completions.ts";
import { withDeadlines } from "../http/deadlines.ts";
import { readJsonBody } from "../http/json-body.ts";
import { responsesDialect } from "../http/responses.ts";
import { parseResponseCall } from "../http/responses-request.ts";
import { type AnswerDialect, answerChat } from "../http/server.ts";
import { type AdmissionDependencies, type Admitted, admitRequest, callerOf, type KeyedContext } from "./admission.ts";
import type { AnswerObserver } from "./answered-request.ts";
import type { AnswerJob, JobReply } from "./hand-over.ts";
import type { HandedOver } from "./handed-over.ts";
import type { LiveRequests } from "./live-requests.ts";
import type { Admission } from "./quota.ts";
import { meterChat } from "./usage/meter.ts";

export interface ChatDependencies extends AdmissionDependencies {
  engine: ChatEngine & {
    /** Gives the request away whole; undefined: ask by `chat`. */
    handOver?(job: AnswerJob, signal: AbortSignal): Promise<JobReply | undefined>;
    /** False: there is nobody to give it to. */
    readonly handsOver?: boolean;
  };
  live: LiveRequests;
  handedOver: HandedOver;
  logger: Logger;
  background: (work: Promise<void>, context: Context) => void;
  bodyBytesMax?: number;
  onAnswer?: AnswerObserver;
  /** How a stream is written; default over a web stream. */
  respond?: StreamResponder | undefined;
}

/** One of OpenAI's ways to ask for an answer. */
export interface ChatForm {
  parse(body: unknown): ChatCall;
  dialect?: AnswerDialect;
  /** Of the answer's id, which is also the ledger row's. */
  idPrefix: string;
}

export const chatCompletionsForm: ChatForm = { parse: parseChatCall, idPrefix: "chatcmpl-" };
export const completionsForm: ChatForm = {
  parse: parseCompletionCall,
  dialect: completionsDialect,
  idPrefix: "cmpl-",
};
export const responsesForm: ChatForm = { parse: parseResponseCall, dialect: responsesDialect, idPrefix: "resp_" };

export const chatForms = new Map(
  [chatCompletionsForm, completionsForm, responsesForm].map((one) => [one.idPrefix, one]),
);

export async function chat(context: KeyedContext, dependencies: ChatDependencies, form: ChatForm): Promise<Response> {
  const { logger } = dependencies;
  const call = form.parse(await readJsonBody(context.req.raw, dependencies.bodyBytesMax ?? requestBodyBytesMax));
  const caller = callerOf(context, call.request.userId, dependencies.deadlines);
  const { terms, userId } = caller;
  const request: ChatRequest = { ...call.request, terms, ...(userId === undefined ? {} : { userId }) };
  const { admission, quota, traceparent } = await admitRequest(context, dependencies, caller, {
    idPrefix: form.idPrefix,
    model: request.model,
    stream: call.stream,
    chars: countChars(request),
  });
  const { id, at } = admission;
  const requestId = context.get("requestId");
  const given = await handOver(context, dependencies, {
    call: { ...call, request },
    admission,
    requestId,
    quota,
    form,
  });
  if (given !== undefined) return given;
  const run = new ChatRun({ admission, quota, traceparent, request }, dependencies);
  const answer = answerChat({ ...call, request }, run.begin, {
    id,
    created: Math.floor(at / 1000),
    clientSignal: context.req.raw.signal,
    requestId,
    ...(form.dialect === undefined ? {} : { dialect: form.dialect }),
    respond: dependencies.respond,
    onFault: (cause) => logger.error("A chat engine broke its contract.", { requestId, cause }),
  });
  dependencies.background(run.settled, context);
  return await answer;
}

/**
 * What stays of a request until its answer has ended. It holds neither the context nor the reply's headers: of hundreds of
 * streams at once they would be a fifth of the memory.
 */
class ChatRun {
  /** Resolves when the row is complete and the quota has counted; never rejects. */
  settled: Promise<void> = Promise.resolve();
  readonly #admitted: Admitted & { request: ChatRequest };
  readonly #dependencies: ChatDependencies;

  constructor(admitted: Admitted & { request: ChatRequest }, dependencies: ChatDependencies) {
    this.#admitted = admitted;
    this.#dependencies = dependencies;
  }

  /** Called once, at once. */
  readonly begin = (signal: AbortSignal, relay: DeltaRelay, cancel: () => void): AsyncIterable<ChatEvent> => {
    const { admission, quota, traceparent, request } = this.#admitted;
    const { engine, usageStore: store, clock, logger, live, metrics, onAnswer } = this.#dependencies;
    const entry = live.enter(admission, cancel);
    let counted: void | Promise<void>;
    const ask = (metered: DeltaRelay | undefined) =>
      withDeadlines(request.terms ?? {}, signal, (inner) => engine.chat(request, { signal: inner, relay: metered }));
    const metered = meterChat(ask, {
      relay,
      id: admission.id,
      at: admission.at,
      store,
      clock,
      logger,
      signal,
      onEvent: entry.note,
      onSettled: (receipt) => {
        const { promptTokens = 0, completionTokens = 0 } = receipt.usage;
        counted = quota.settle(promptTokens + completionTokens);
        entry.leave();
        metrics.countAnswer(admission, receipt);
        onAnswer?.({ admission, receipt, traceparent, asked: request });
      },
    });
    this.settled = metered.settled.then(() => counted);
    return metered.events;
  };
}

/** The reply of who took the request whole; undefined where nobody did, or where another engine may do better. */
async function handOver(
  context: KeyedContext,
  { engine, live, handedOver, usageStore, background }: ChatDependencies,
  { quota, form, ...job }: Omit<AnswerJob, "form" | "ticket"> & { quota: Admission; form: ChatForm },
): Promise<Response | undefined> {
  if (engine.handOver === undefined || engine.handsOver === false) return undefined;
  const { ticket } = quota;
  const { signal, leave } = live.enterFor(job.admission, context.req.raw.signal);
  const taking = engine.handOver({ ...job, form: form.idPrefix, ...(ticket === undefined ? {} : { ticket }) }, signal);
  const over = taking.then(async (reply) => {
    const receipt = reply?.refused?.receipt;
    if (receipt !== undefined) await Promise.all([usageStore.settle(receipt), quota.settle(0)]);
    await reply?.ended;
    leave();
    if (reply !== undefined) handedOver.note(job.admission);
  });
  background(over.catch(leave), context);
  return (await taking)?.response;
}

function countChars({ messages, prompt = "" }: ChatRequest): number {
  return messages.reduce((sum, message) => sum + message.content.length, prompt.length);
}
