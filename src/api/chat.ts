/** One chat through the API: key, model, quota, admission row, engine, receipt. */
import type { Context } from "hono";
import type { ChatRequest } from "../core/chat.ts";
import { AppError } from "../core/errors.ts";
import { requestBodyBytesMax, userIdCharsMax } from "../core/limits.ts";
import type { ApiKey, ChatEngine, Clock, Logger, UsageAdmission, UsageSource, UsageStore } from "../core/ports.ts";
import { type ChatCall, parseChatCall } from "../http/chat-request.ts";
import { readJsonBody } from "../http/json-body.ts";
import { parseResponseCall, responsesDialect } from "../http/responses.ts";
import { type AnswerDialect, answerChat } from "../http/server.ts";
import type { AuthVariables } from "./auth.ts";
import type { LiveRequests } from "./live-requests.ts";
import type { Metrics } from "./metrics.ts";
import { type Admission, type QuotaBook, QuotaRefusal } from "./quota.ts";
import type { RequestVariables } from "./requests.ts";
import { meterChat } from "./usage/meter.ts";

export interface ChatDependencies {
  engine: ChatEngine;
  usageStore: UsageStore;
  quotas: QuotaBook;
  live: LiveRequests;
  metrics: Metrics;
  clock: Clock;
  logger: Logger;
  randomId: () => string;
  background: (work: Promise<void>, context: Context) => void;
  bodyBytesMax?: number;
}

export type ChatContext = Context<{ Variables: RequestVariables & AuthVariables }>;

/** One of OpenAI's ways to ask for an answer. */
export interface ChatForm {
  parse(body: unknown): ChatCall;
  dialect?: AnswerDialect;
  /** Of the answer's id, which is also the ledger row's. */
  idPrefix: string;
}

export const chatCompletionsForm: ChatForm = { parse: parseChatCall, idPrefix: "chatcmpl-" };
export const responsesForm: ChatForm = { parse: parseResponseCall, dialect: responsesDialect, idPrefix: "resp_" };

/** Admission first: even a process that dies before the engine answers leaves a trace of the request. */
export async function chat(context: ChatContext, dependencies: ChatDependencies, form: ChatForm): Promise<Response> {
  const { engine, usageStore: store, clock, logger, live, metrics } = dependencies;
  const call = form.parse(await readJsonBody(context.req.raw, dependencies.bodyBytesMax ?? requestBodyBytesMax));
  const key = context.get("key");
  const userId = userOf(context.req.header("x-snug-user")) ?? call.request.userId;
  const request: ChatRequest = userId === undefined ? call.request : { ...call.request, userId };
  checkModel(key, request.model);
  const quota = await admit(context, dependencies, request);
  const admission: UsageAdmission = {
    id: `${form.idPrefix}${dependencies.randomId()}`,
    at: clock.now(),
    keyId: key.id,
    source: sourceOf(context.req.header("x-snug-source")),
    model: request.model,
    stream: call.stream,
    ...(userId === undefined ? {} : { userId }),
  };
  const { id, at } = admission;
  await store.admit(admission).catch((thrown) => {
    quota.settle(0);
    throw thrown;
  });
  const requestId = context.get("requestId");
  const run = (clientSignal: AbortSignal) => {
    const signal = live.enter(admission, clientSignal);
    const metered = meterChat(live.watch(id, engine.chat(request, { signal })), {
      id,
      at,
      store,
      clock,
      logger,
      signal,
      onSettled: (receipt) => {
        const { promptTokens = 0, completionTokens = 0 } = receipt.usage;
        quota.settle(promptTokens + completionTokens);
        live.leave(id);
        metrics.countAnswer(admission, receipt);
      },
    });
    dependencies.background(metered.settled, context);
    return metered.events;
  };
  return answerChat({ ...call, request }, run, {
    id,
    created: Math.floor(at / 1000),
    clientSignal: context.req.raw.signal,
    requestId,
    ...(form.dialect === undefined ? {} : { dialect: form.dialect }),
    onFault: (cause) => logger.error("A chat engine broke its contract.", { requestId, cause }),
  });
}

async function admit(
  context: ChatContext,
  { quotas, metrics }: ChatDependencies,
  request: ChatRequest,
): Promise<Admission> {
  try {
    const admission = await quotas.admit(context.get("key"), request.userId, estimatePromptTokens(request));
    context.set("replyHeaders", admission.headers);
    return admission;
  } catch (thrown) {
    if (thrown instanceof QuotaRefusal) {
      metrics.countRefusal(thrown.code);
      context.set("replyHeaders", thrown.headers);
    }
    throw thrown;
  }
}

/** English has about four characters a token; the true number replaces this one at the end. */
function estimatePromptTokens(request: ChatRequest): number {
  return Math.ceil(request.messages.reduce((sum, message) => sum + message.content.length, 0) / 4);
}

/** @throws AppError permission_denied */
export function checkModel(key: ApiKey, model: string): void {
  if (key.models === undefined || key.models.includes(model)) return;
  throw new AppError("permission_denied", `This API key may not ask this model; it may ask ${key.models.join(", ")}.`, {
    param: "model",
  });
}

/** Bots name the person they ask for in a header, so that clients' own `user` field need not be touched. */
function userOf(header: string | undefined): string | undefined {
  if (header === undefined || header === "") return undefined;
  if (header.length > userIdCharsMax) {
    throw new AppError("invalid_request", `x-snug-user must be at most ${userIdCharsMax} characters.`, {
      param: "x-snug-user",
    });
  }
  return header;
}

const sources: readonly UsageSource[] = ["api", "cli", "discord", "slack"];

/** Our own programs say where a request came from. */
function sourceOf(header: string | undefined): UsageSource {
  return sources.find((source) => source === header) ?? "api";
}
