/**
 * OpenTelemetry spans of answered requests, in the names of its conventions for generative AI. On only where
 * OTEL_EXPORTER_OTLP_ENDPOINT is set; without it nothing of OpenTelemetry is even loaded. No prompt, answer, key or user
 * is ever part of a span.
 */
import type { AnsweredRequest, AnswerObserver } from "../api/answered-request.ts";
import { AppError } from "../core/errors.ts";
import { closeMsMax } from "../core/limits.ts";

export interface Tracing {
  onAnswer: AnswerObserver;
  /** Sends what is left; a receiver that does not answer is not waited for. */
  stop(): Promise<void>;
}

type Environment = Record<string, string | undefined>;

/** What OpenTelemetry's own variables say; undefined: off. */
export async function startTracing(environment: Environment, version: string): Promise<Tracing | undefined> {
  const { OTEL_SDK_DISABLED: disabled, OTEL_TRACES_EXPORTER: exporter } = environment;
  const endpoint = tracesEndpoint(environment);
  if (endpoint === undefined || disabled === "true" || exporter === "none") return undefined;
  const [{ ROOT_CONTEXT, SpanKind, SpanStatusCode, trace }, sdk, { OTLPTraceExporter }, resources] = await Promise.all([
    import("@opentelemetry/api"),
    import("@opentelemetry/sdk-trace-base"),
    import("@opentelemetry/exporter-trace-otlp-http"),
    import("@opentelemetry/resources"),
  ]);
  const named = resources.resourceFromAttributes({
    "service.name": environment.OTEL_SERVICE_NAME || "snug",
    "service.version": version,
  });
  const detected = resources.detectResources({ detectors: [resources.envDetector] });
  const provider = new sdk.BasicTracerProvider({
    resource: named.merge(detected),
    spanProcessors: [new sdk.BatchSpanProcessor(new OTLPTraceExporter({ url: endpoint }))],
  });
  const tracer = provider.getTracer("snug", version);
  return {
    onAnswer(answered) {
      const { admission, receipt, traceparent } = answered;
      const parent = parseTraceparent(traceparent);
      const span = tracer.startSpan(
        `${operationOf(admission.id)} ${admission.model}`,
        { kind: SpanKind.CLIENT, startTime: admission.at, attributes: attributesOf(answered) },
        parent === undefined ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, { ...parent, isRemote: true }),
      );
      if (receipt.errorCode !== undefined) span.setStatus({ code: SpanStatusCode.ERROR, message: receipt.errorCode });
      span.end(admission.at + (receipt.timings.totalMs ?? 0));
    },
    async stop() {
      let timer: ReturnType<typeof setTimeout> | undefined;
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, closeMsMax);
      });
      await Promise.race([provider.shutdown().catch(() => {}), late]);
      clearTimeout(timer);
    },
  };
}

/** The general address gets the signal's path; the one for traces alone is taken as it is. */
function tracesEndpoint(environment: Environment): string | undefined {
  const own = environment.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT;
  const general = environment.OTEL_EXPORTER_OTLP_ENDPOINT;
  const url = own || (general ? `${general.replace(/\/+$/, "")}/v1/traces` : undefined);
  if (url === undefined) return undefined;
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    const message = "OTEL_EXPORTER_OTLP_ENDPOINT is no http:// or https:// address, such as http://localhost:4318.";
    throw new AppError("invalid_configuration", message);
  }
  return url;
}

/** Version 00 of https://www.w3.org/TR/trace-context/; anything else begins a trace of its own. */
function parseTraceparent(header: string | undefined) {
  const [, traceId, spanId, flags] = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/.exec(header ?? "") ?? [];
  if (traceId === undefined || spanId === undefined || /^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined;
  return { traceId, spanId, traceFlags: Number.parseInt(flags!, 16) & 1 };
}

/** By the kind of answer, which its id tells. */
function operationOf(id: string): string {
  if (id.startsWith("cmpl-")) return "text_completion";
  if (id.startsWith("embd-")) return "embeddings";
  return id.startsWith("rank-") ? "rerank" : "chat";
}

/** Names of the GenAI conventions where they have one; those with "snug." are ours. */
function attributesOf({ admission, receipt, asked = {} }: AnsweredRequest) {
  const { usage, timings, finishReason, errorCode } = receipt;
  const attributes: Record<string, string | number | boolean | string[] | undefined> = {
    "gen_ai.operation.name": operationOf(admission.id),
    "gen_ai.provider.name": "snug",
    "gen_ai.request.model": admission.model,
    "gen_ai.request.max_tokens": asked.maxTokens,
    "gen_ai.request.temperature": asked.temperature,
    "gen_ai.request.top_p": asked.topP,
    "gen_ai.request.top_k": asked.topK,
    "gen_ai.request.seed": asked.seed,
    "gen_ai.response.id": admission.id,
    "gen_ai.response.model": receipt.model,
    "gen_ai.response.finish_reasons": finishReason === undefined ? undefined : [finishReason],
    "gen_ai.usage.input_tokens": usage.promptTokens,
    "gen_ai.usage.output_tokens": usage.completionTokens,
    "gen_ai.usage.cache_read.input_tokens": usage.cachedPromptTokens,
    "error.type": errorCode,
    "snug.engine": receipt.engineId,
    "snug.quantization": receipt.quantization,
    "snug.source": admission.source,
    "snug.stream": admission.stream,
    "snug.aborted": receipt.aborted,
    "snug.queue_ms": timings.queueMs,
    "snug.time_to_first_token_ms": timings.timeToFirstTokenMs,
  };
  return Object.fromEntries(Object.entries(attributes).filter(([, value]) => value !== undefined));
}
