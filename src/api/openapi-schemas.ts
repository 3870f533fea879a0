/** What the routes answer with, as schemas: the description is made of them, and tests hold real answers against it. */
import * as z from "zod";

/** A name for a schema that several routes use; it becomes a component of the description. */
const named = <Schema extends z.ZodType>(id: string, schema: Schema): Schema => schema.meta({ id });

const count = z.int().min(0);
const amount = z.number().min(0);
const time = z.iso.datetime();

const usage = named(
  "Usage",
  z
    .strictObject({
      prompt_tokens: count.optional(),
      completion_tokens: count.optional(),
      total_tokens: count.optional(),
      prompt_tokens_details: z.strictObject({ cached_tokens: count }).optional(),
      completion_tokens_details: z.strictObject({ reasoning_tokens: count }).optional(),
      estimated: z.literal(true).optional(),
    })
    .nullable(),
);

const timings = named(
  "Timings",
  z.strictObject({
    cache_n: count.optional(),
    prompt_n: count.optional(),
    prompt_ms: amount.optional(),
    prompt_per_second: amount.optional(),
    predicted_n: count.optional(),
    predicted_ms: amount.optional(),
    predicted_per_second: amount.optional(),
    queue_ms: amount.optional(),
    time_to_first_token_ms: amount.optional(),
    total_ms: amount.optional(),
  }),
);

const producer = named(
  "Producer",
  z.strictObject({
    engine: z.string().optional(),
    model: z.string().optional(),
    quantization: z.string().optional(),
    context_length: count.optional(),
    usage: usage.optional(),
    tokens: count.optional(),
  }),
);

const likely = { token: z.string(), logprob: z.number().max(0), bytes: z.array(z.int().min(0).max(255)) };
const logprobs = named(
  "Logprobs",
  z
    .strictObject({
      content: z.array(z.strictObject({ ...likely, top_logprobs: z.array(z.strictObject(likely)) })),
      refusal: z.null(),
    })
    .nullable(),
);

const calledFunction = {
  type: z.literal("function"),
  function: z.strictObject({ name: z.string(), arguments: z.string() }),
};
const finishReason = z.enum(["stop", "length", "tool_calls", "content_filter"]);
const answer = { id: z.string(), created: z.int(), model: z.string() };

export const chatCompletion = named(
  "ChatCompletion",
  z.strictObject({
    ...answer,
    object: z.literal("chat.completion"),
    choices: z
      .array(
        z.strictObject({
          index: z.literal(0),
          message: z.strictObject({
            role: z.literal("assistant"),
            content: z.string().nullable(),
            reasoning_content: z.string().optional(),
            tool_calls: z.array(z.strictObject({ ...calledFunction, id: z.string() })).optional(),
            refusal: z.null(),
          }),
          logprobs,
          finish_reason: finishReason,
        }),
      )
      .length(1),
    usage,
    timings,
    snug: producer,
  }),
);

export const chatCompletionChunk = named(
  "ChatCompletionChunk",
  z.strictObject({
    ...answer,
    object: z.literal("chat.completion.chunk"),
    choices: z
      .array(
        z.strictObject({
          index: z.literal(0),
          delta: z.strictObject({
            role: z.literal("assistant").optional(),
            content: z.string().optional(),
            reasoning_content: z.string().optional(),
            tool_calls: z
              .array(
                z.strictObject({
                  index: count,
                  id: z.string().optional(),
                  type: z.literal("function").optional(),
                  function: z.strictObject({ name: z.string().optional(), arguments: z.string() }),
                }),
              )
              .optional(),
          }),
          logprobs,
          finish_reason: finishReason.nullable(),
        }),
      )
      .max(1),
    usage: usage.optional(),
    timings: timings.optional(),
    snug: producer.optional(),
  }),
);

/** Of the older form, whole or one piece of a stream. */
export const completion = named(
  "Completion",
  z.strictObject({
    ...answer,
    object: z.literal("text_completion"),
    choices: z
      .array(
        z.strictObject({
          index: z.literal(0),
          text: z.string(),
          logprobs: z
            .strictObject({
              tokens: z.array(z.string()),
              token_logprobs: z.array(z.number()),
              top_logprobs: z.array(z.record(z.string(), z.number())),
              text_offset: z.array(count),
            })
            .nullable(),
          finish_reason: finishReason.nullable(),
        }),
      )
      .max(1),
    usage: usage.optional(),
    timings: timings.optional(),
    snug: producer.optional(),
  }),
);

const vectorUsage = z.strictObject({ prompt_tokens: count, total_tokens: count }).nullable();

export const embeddingList = named(
  "EmbeddingList",
  z.strictObject({
    object: z.literal("list"),
    model: z.string(),
    data: z.array(
      z.strictObject({
        object: z.literal("embedding"),
        index: count,
        /** Base64 holds little-endian 32-bit floats. */
        embedding: z.union([z.array(z.number()), z.string()]),
      }),
    ),
    usage: vectorUsage,
    snug: producer,
  }),
);

export const ranking = named(
  "Ranking",
  z.strictObject({
    object: z.literal("list"),
    model: z.string(),
    results: z.array(
      z.strictObject({
        index: count,
        relevance_score: z.number(),
        document: z.strictObject({ text: z.string() }).optional(),
      }),
    ),
    usage: vectorUsage,
    snug: producer,
  }),
);

const itemStatus = z.enum(["in_progress", "completed", "incomplete"]);
const responseItem = z.discriminatedUnion("type", [
  z.strictObject({
    id: z.string(),
    type: z.literal("message"),
    status: itemStatus,
    role: z.literal("assistant"),
    content: z.array(
      z.strictObject({
        type: z.literal("output_text"),
        text: z.string(),
        annotations: z.array(z.unknown()),
        logprobs: z.array(z.unknown()),
      }),
    ),
  }),
  z.strictObject({
    id: z.string(),
    type: z.literal("reasoning"),
    status: itemStatus,
    summary: z.array(z.unknown()),
    content: z.array(z.strictObject({ type: z.literal("reasoning_text"), text: z.string() })),
  }),
  z.strictObject({
    id: z.string(),
    type: z.literal("function_call"),
    status: itemStatus,
    call_id: z.string(),
    name: z.string(),
    arguments: z.string(),
  }),
]);

/** OpenAI's own members beside these are there for its clients and say nothing here. */
export const response = named(
  "Response",
  z.looseObject({
    id: z.string(),
    object: z.literal("response"),
    created_at: z.int(),
    status: z.enum(["in_progress", "completed", "incomplete", "failed"]),
    error: z.strictObject({ code: z.string(), message: z.string() }).nullable(),
    incomplete_details: z.strictObject({ reason: z.string() }).nullable(),
    model: z.string(),
    output: z.array(responseItem),
    usage: z
      .strictObject({
        input_tokens: count,
        input_tokens_details: z.strictObject({ cached_tokens: count }),
        output_tokens: count,
        output_tokens_details: z.strictObject({ reasoning_tokens: count }),
        total_tokens: count,
      })
      .nullable(),
    snug: producer,
  }),
);

export const modelList = named(
  "ModelList",
  z.strictObject({
    object: z.literal("list"),
    data: z.array(
      z.strictObject({
        id: z.string(),
        object: z.literal("model"),
        created: z.int(),
        owned_by: z.string(),
        meta: z.strictObject({
          n_ctx: count.optional(),
          n_ctx_train: count.optional(),
          n_params: count.optional(),
          size: count.optional(),
        }),
        snug: z.strictObject({
          task: z.enum(["embedding", "rerank"]).optional(),
          quantization: z.string().optional(),
          decode_tokens_per_second: amount.optional(),
          loaded: z.boolean(),
          demo: z.boolean().optional(),
        }),
      }),
    ),
  }),
);

export const openAiError = named(
  "OpenAiError",
  z.strictObject({
    error: z.strictObject({
      message: z.string(),
      type: z.string(),
      param: z.string().nullable(),
      code: z.string(),
      details: z.record(z.string(), z.unknown()).optional(),
    }),
  }),
);

export const problem = named(
  "Problem",
  z.strictObject({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    param: z.string().optional(),
    details: z.record(z.string(), z.unknown()).optional(),
    instance: z.string().optional(),
  }),
);

const engineState = z.enum(["ready", "loading", "restarting", "failed", "stopped"]);

export const health = named(
  "Health",
  z.strictObject({
    status: z.enum(["ok", "degraded"]),
    version: z.string(),
    engine: z.looseObject({
      state: engineState,
      reason: z.string().optional(),
      active: count,
      queued: count,
      slots: count,
    }),
    store: z.strictObject({ state: z.enum(["ready", "failed"]), reason: z.string().optional() }),
  }),
);

const totals = {
  requests: count,
  aborted: count,
  failed: count,
  interrupted: count,
  promptTokens: count,
  completionTokens: count,
  cachedPromptTokens: count,
};
const usageTotals = named("UsageTotals", z.strictObject(totals));

const admission = {
  id: z.string(),
  at: z.int(),
  keyId: z.string(),
  source: z.enum(["api", "cli", "discord", "slack"]),
  userId: z.string().optional(),
  model: z.string(),
  stream: z.boolean(),
};

export const usageReport = named(
  "UsageReport",
  z.strictObject({
    rows: z.array(
      z.strictObject({
        ...admission,
        time,
        quantization: z.string().optional(),
        engineId: z.string().optional(),
        usage: z.strictObject({
          promptTokens: count.optional(),
          completionTokens: count.optional(),
          cachedPromptTokens: count.optional(),
          estimated: z.literal(true).optional(),
        }),
        timings: z.strictObject({
          queueMs: amount.optional(),
          timeToFirstTokenMs: amount.optional(),
          totalMs: amount.optional(),
          prefillTokensPerSecond: amount.optional(),
          completionTokensPerSecond: amount.optional(),
        }),
        finishReason: finishReason.optional(),
        errorCode: z.string().optional(),
        aborted: z.boolean(),
        settled: z.boolean(),
        interrupted: z.boolean(),
      }),
    ),
    totals: usageTotals,
  }),
);

const quantiles = named("Quantiles", z.strictObject({ count, p50: amount, p95: amount, p99: amount }));

export const usageGroups = named(
  "UsageGroups",
  z.strictObject({
    group: z.enum(["day", "key", "user", "model", "source", "engine", "status"]),
    groups: z.array(
      z.strictObject({
        value: z.string(),
        ...totals,
        queueMs: quantiles.optional(),
        timeToFirstTokenMs: quantiles.optional(),
        totalMs: quantiles.optional(),
        completionTokensPerSecond: quantiles.optional(),
      }),
    ),
    groupCount: count,
    totals: usageTotals,
  }),
);

const limits = named(
  "Limits",
  z.strictObject({
    requestsPerMinute: count.optional(),
    requestsPerDay: count.optional(),
    tokensPerMinute: count.optional(),
    tokensPerDay: count.optional(),
    concurrentRequests: count.optional(),
  }),
);

const keyMembers = {
  id: z.string(),
  name: z.string(),
  scopes: z.array(z.enum(["chat", "fits", "usage", "engine", "compare", "admin"])),
  fingerprint: z.string(),
  state: z.enum(["active", "expired", "revoked"]),
  createdAt: time,
  expiresAt: time.optional(),
  revokedAt: time.optional(),
  models: z.array(z.string()).optional(),
  limits: limits.optional(),
  userLimits: limits.optional(),
  weight: z.number().min(0.1).max(10).optional(),
  priority: z.enum(["interactive", "batch"]).optional(),
};
export const key = named("Key", z.strictObject(keyMembers));
export const issuedKey = named("IssuedKey", z.strictObject({ ...keyMembers, secret: z.string() }));
export const keyList = named("KeyList", z.strictObject({ keys: z.array(key) }));

export const engine = named(
  "Engine",
  z.strictObject({
    name: z.string(),
    origin: z.enum(["settings", "registered"]),
    url: z.string().optional(),
    weight: amount,
    draining: z.boolean(),
    state: z.enum([...engineState.options, "unknown"]),
    reason: z.string().optional(),
    active: count,
    queued: count,
    slots: count,
    assumed: z.boolean().optional(),
    inFlight: count,
    answerMs: amount,
    failures: count,
    devices: z
      .array(
        z.strictObject({
          name: z.string(),
          kind: z.enum(["gpu", "host"]),
          bytesTotal: count,
          bytesUsed: count.optional(),
          bytesOwn: count.optional(),
        }),
      )
      .optional(),
    models: z.array(
      z.strictObject({
        id: z.string(),
        loaded: z.boolean(),
        quantization: z.string().optional(),
        contextLength: count.optional(),
      }),
    ),
    hardware: z
      .strictObject({
        cpu: z.string().optional(),
        ramBytesTotal: amount.optional(),
        gpus: z.array(z.strictObject({ name: z.string(), vramBytesTotal: amount })),
      })
      .optional(),
    plans: z
      .array(
        z.strictObject({
          model: z.string(),
          quantization: z.string().optional(),
          offload: z.string().optional(),
          contextLength: amount.optional(),
          gpuLayers: amount.optional(),
          vramBytes: amount.optional(),
        }),
      )
      .optional(),
  }),
);
export const engineList = named("EngineList", z.strictObject({ engines: z.array(engine), waiting: count }));

/** The engine's own words; docs/engine.md says what each is. */
export const engineModel = named(
  "EngineModel",
  z.looseObject({
    id: z.string(),
    state: z.enum(["unloaded", "finding", "loading", "ready", "leaving", "failed"]),
    pinned: z.boolean(),
    reason: z.string().optional(),
    slots: count.optional(),
    active: count.optional(),
    queued: count.optional(),
    tokensPerSecond: amount.optional(),
  }),
);
export const engineReport = named(
  "EngineReport",
  z.strictObject({
    health: z.looseObject({ state: engineState, active: count, queued: count, slots: count }),
    draining: z.boolean(),
    models: z.array(engineModel),
  }),
);
export const loadForecast = named(
  "LoadForecast",
  z.looseObject({
    model: z.string(),
    loaded: z.boolean(),
    fits: z.boolean(),
    evicts: z.array(z.string()),
    estimatedWarmMs: amount.optional(),
    downloadNeeded: z.boolean(),
    download: z
      .looseObject({
        fileBytes: amount,
        bytesMissing: amount,
        diskBytesFree: amount,
        estimatedMs: amount.optional(),
      })
      .optional(),
    reason: z.string().optional(),
  }),
);

export const liveRequest = named(
  "LiveRequest",
  z.strictObject({
    ...admission,
    state: z.enum(["waiting", "answering"]),
    engineId: z.string().optional(),
    completionTokens: count,
  }),
);
export const liveRequestList = named("LiveRequestList", z.strictObject({ requests: z.array(liveRequest) }));

/** The report itself is described in docs/compare.md. */
export const compareJob = z.strictObject({
  id: z.string(),
  engine: z.string(),
  state: z.enum(["running", "done", "cancelled", "failed"]),
  model: z.string(),
  startedAt: z.number(),
  progress: z
    .strictObject({
      step: z.enum(["prepare", "load", "speed", "answer", "quality"]),
      quantization: z.string(),
      share: z.number().min(0).max(1),
    })
    .optional(),
  report: z
    .looseObject({ version: z.literal(1), variants: z.array(z.looseObject({ quantization: z.string() })) })
    .optional(),
  error: z.looseObject({ code: z.string(), message: z.string() }).optional(),
});

export const doctorReport = named(
  "DoctorReport",
  z.strictObject({
    verdict: z.enum(["ok", "warning", "problem"]),
    findings: z.array(
      z.strictObject({
        check: z.string(),
        verdict: z.enum(["ok", "warning", "problem"]),
        text: z.string(),
        remedy: z.string().optional(),
      }),
    ),
  }),
);

const sentences = z.strictObject({ en: z.string(), zh: z.string() });
const warning = {
  id: z.string(),
  kind: z.enum(["spill_suspected", "thermal_throttle"]),
  /** Milliseconds since the epoch. */
  since: amount,
  text: sentences,
};
export const engineWarning = named("EngineWarning", z.strictObject({ engine: z.string(), ...warning }));

const column = z.array(amount.nullable());
export const monitoringReport = named(
  "MonitoringReport",
  z.strictObject({
    everyMs: amount,
    /** Columns of the same length, oldest first; null where a look told nothing. */
    gpus: z.array(
      z.strictObject({
        gpu: count,
        name: z.string(),
        vramBytesTotal: amount.optional(),
        at: z.array(amount),
        vramBytesUsed: column,
        utilization: column,
        temperatureCelsius: column,
        powerWatts: column,
        throttle: z.array(z.enum(["thermal", "power_cap", "power_brake"])),
      }),
    ),
    warnings: z.array(z.strictObject(warning)),
  }),
);
