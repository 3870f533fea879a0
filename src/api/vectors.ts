/** Embeddings and rankings through the API: let in, made by an engine, and written down however they end. */
import type { Producer, ServiceTerms, Timings } from "../core/chat.ts";
import { AppError, toAppError } from "../core/errors.ts";
import { requestBodyBytesMax } from "../core/limits.ts";
import type { UsageReceipt } from "../core/ports.ts";
import { within } from "../http/deadlines.ts";
import { parseEmbeddingsCall, renderEmbeddings } from "../http/embeddings.ts";
import { readJsonBody } from "../http/json-body.ts";
import { parseRerankCall, renderRanking } from "../http/rerank.ts";
import { clientClosedStatus } from "../http/server.ts";
import { type Admitted, admitRequest, type Caller, callerOf, type KeyedContext } from "./admission.ts";
import type { ChatDependencies } from "./chat.ts";
import type { Router } from "./router.ts";

export interface VectorDependencies extends Omit<ChatDependencies, "engine"> {
  engine: Pick<Router, "embed" | "rerank">;
}

/** What embeddings and rankings have in common. */
interface Made {
  producer: Producer;
  promptTokens?: number;
  timings: Pick<Timings, "queueMs" | "totalMs">;
}

interface Work<Result extends Made> {
  idPrefix: string;
  model: string;
  userId: string | undefined;
  chars: number;
  run(terms: ServiceTerms & { userId?: string }, signal: AbortSignal): Promise<Result>;
  render(result: Result): object;
}

export async function embeddings(context: KeyedContext, dependencies: VectorDependencies): Promise<Response> {
  const { request, encoding } = parseEmbeddingsCall(await readBody(context, dependencies));
  return await answer(context, dependencies, {
    idPrefix: "embd-",
    model: request.model,
    userId: request.userId,
    chars: request.inputs.reduce((sum, text) => sum + text.length, 0),
    run: ({ userId, ...terms }, signal) =>
      dependencies.engine.embed({ ...request, terms, ...(userId === undefined ? {} : { userId }) }, { signal }),
    render: (result) => renderEmbeddings(result, encoding),
  });
}

export async function rerank(context: KeyedContext, dependencies: VectorDependencies): Promise<Response> {
  const call = parseRerankCall(await readBody(context, dependencies));
  const { request } = call;
  return await answer(context, dependencies, {
    idPrefix: "rank-",
    model: request.model,
    userId: request.userId,
    chars: request.documents.reduce((sum, text) => sum + text.length + request.query.length, 0),
    run: ({ userId, ...terms }, signal) =>
      dependencies.engine.rerank({ ...request, terms, ...(userId === undefined ? {} : { userId }) }, { signal }),
    render: (result) => renderRanking(result, call),
  });
}

function readBody(context: KeyedContext, { bodyBytesMax = requestBodyBytesMax }: VectorDependencies): Promise<unknown> {
  return readJsonBody(context.req.raw, bodyBytesMax);
}

async function answer<Result extends Made>(
  context: KeyedContext,
  dependencies: VectorDependencies,
  work: Work<Result>,
): Promise<Response> {
  const { live, background } = dependencies;
  const caller = callerOf(context, work.userId, dependencies.deadlines);
  const { idPrefix, model, chars } = work;
  const admitted = await admitRequest(context, dependencies, caller, { idPrefix, model, stream: false, chars });
  const { signal, leave } = live.enterFor(admitted.admission, context.req.raw.signal);
  const settling = settle(dependencies, admitted, make(work, caller, signal), signal);
  // Also when nobody waits for the reply any more, the row is to be completed.
  background(
    settling.then(
      () => {},
      () => {},
    ),
    context,
  );
  const outcome = await settling.finally(leave);
  if (outcome.error !== undefined) {
    if (context.req.raw.signal.aborted) return new Response(null, { status: clientClosedStatus });
    throw signal.aborted ? endedByOperator() : outcome.error;
  }
  return context.json(work.render(outcome.result), 200, { "cache-control": "no-store" });
}

function endedByOperator(): AppError {
  return new AppError("engine_unavailable", "The request was cancelled on the server; please try again.");
}

function make<Result extends Made>(
  work: Work<Result>,
  { terms, userId }: Caller,
  signal: AbortSignal,
): Promise<Result> {
  return within(terms.totalMsMax, signal, (inner) =>
    work.run({ ...terms, ...(userId === undefined ? {} : { userId }) }, inner),
  );
}

type Outcome<Result> = { result: Result; error?: never } | { error: AppError };

async function settle<Result extends Made>(
  { usageStore, clock, logger, metrics, onAnswer }: VectorDependencies,
  { admission, quota, traceparent }: Admitted,
  making: Promise<Result>,
  signal: AbortSignal,
): Promise<Outcome<Result>> {
  const outcome: Outcome<Result> = await making.then(
    (result) => ({ result }),
    (thrown) => ({ error: toAppError(thrown) }),
  );
  const totalMs = clock.now() - admission.at;
  const receipt: UsageReceipt =
    outcome.error === undefined
      ? { id: admission.id, ...madeBy(outcome.result), finishReason: "stop", aborted: false }
      : {
          id: admission.id,
          usage: {},
          timings: { totalMs },
          aborted: signal.aborted,
          ...(signal.aborted ? {} : { errorCode: outcome.error.code }),
        };
  await usageStore.settle(receipt).catch((cause) => {
    logger.error("A usage row could not be completed.", { id: admission.id, cause });
  });
  quota.settle(receipt.usage.promptTokens ?? 0);
  metrics.countAnswer(admission, receipt);
  onAnswer?.({ admission, receipt, traceparent });
  return outcome;
}

function madeBy({ producer, promptTokens, timings }: Made): Omit<UsageReceipt, "id" | "aborted"> {
  const { engineId, model, quantization } = producer;
  return {
    model,
    ...(engineId === undefined ? {} : { engineId }),
    ...(quantization === undefined ? {} : { quantization }),
    usage: promptTokens === undefined ? {} : { promptTokens, completionTokens: 0 },
    timings,
  };
}
