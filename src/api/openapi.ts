/** GET /openapi.json: OpenAPI 3.1, made of the schemas that the routes themselves check with. */
import * as z from "zod";
import { compareRequestSchema } from "../fit/compare-report.ts";
import { fitsRequestSchema } from "../fit/door-schema.ts";
import { chatBodySchema } from "../http/chat-request.ts";
import { completionBodySchema } from "../http/completions.ts";
import { embeddingsBodySchema } from "../http/embeddings.ts";
import { linkProtocol } from "../http/link-frames.ts";
import { drainSchema, loadSchema, unloadSchema } from "../http/operations.ts";
import { rerankBodySchema } from "../http/rerank.ts";
import { responseBodySchema } from "../http/responses-request.ts";
import { engineChangeSchema, engineRequestSchema } from "./engines.ts";
import { feedbackSchema } from "./feedback.ts";
import { keyRequestSchema } from "./keys.ts";
import * as answers from "./openapi-schemas.ts";
import { apiTags, tagOf } from "./openapi-tags.ts";

type Scope = "none" | "chat" | "usage" | "compare" | "engine" | "admin";
type Parameter = [name: string, schema: object, description: string];

interface Operation {
  summary: string;
  scope: Scope;
  /** Errors are OpenAI's on the routes it defines, else problem details. */
  errors: "openai" | "problem";
  body?: z.ZodType;
  query?: Parameter[];
  /** Headers of the request. */
  headers?: Parameter[];
  status?: number;
  /** By content type; a string describes what is no JSON. */
  answers: Record<string, z.ZodType | string>;
}

const text = { type: "string" };
const whole = { type: "integer", minimum: 1 };
const languages = { enum: ["en", "zh"] };
const groupings = { enum: ["day", "key", "user", "model", "source", "engine", "status"] };

const period: Parameter[] = [
  ["since", text, "Inclusive: a date, a time with Z, or milliseconds since 1970"],
  ["until", text, "Exclusive"],
  ["user", text, "End user"],
  ["key", text, "Id of a key; without admin it is one's own"],
];

const sourceHeaders: Parameter[] = [
  ["x-snug-user", text, "End user behind the key; before the user field of the body"],
  ["x-snug-source", { enum: ["api", "cli", "discord", "slack"] }, "Where the request came in, for the ledger"],
  [
    "x-snug-priority",
    { enum: ["interactive", "batch"] },
    "batch: let others go first; a key of priority batch stays so",
  ],
  ["x-snug-first-token-ms", whole, "End with engine_timeout unless the first word comes within this time"],
  ["x-snug-total-ms", whole, "End with engine_timeout unless the answer is complete within this time"],
  ["x-request-id", text, "Kept and sent back where it is an id"],
];

/** Every route of the API. A test holds this against the routes that really are there. */
export const operations: Record<string, Operation> = {
  "GET /health": {
    summary: "State of the API, its engines and its ledger; always 200",
    scope: "none",
    errors: "problem",
    answers: { "application/json": answers.health },
  },
  "POST /v1/chat/completions": {
    summary: "Answer a conversation, whole or as a stream",
    scope: "chat",
    errors: "openai",
    headers: sourceHeaders,
    body: chatBodySchema,
    answers: {
      "application/json": answers.chatCompletion,
      "text/event-stream":
        "With stream: true. Events of one ChatCompletionChunk each, then [DONE]. An answer that is cut ends with an OpenAiError and without [DONE].",
    },
  },
  "POST /v1/completions": {
    summary: "Go on from a text, in OpenAI's older form",
    scope: "chat",
    errors: "openai",
    headers: sourceHeaders,
    body: completionBodySchema,
    answers: {
      "application/json": answers.completion,
      "text/event-stream":
        "With stream: true. Events of one Completion each, then [DONE]; an answer that is cut ends as a chat's does.",
    },
  },
  "POST /v1/responses": {
    summary: "The same in OpenAI's newer form, with functions and thoughts; nothing is stored between requests",
    scope: "chat",
    errors: "openai",
    headers: sourceHeaders,
    body: responseBodySchema,
    answers: {
      "application/json": answers.response,
      "text/event-stream":
        "With stream: true. Named and numbered events from response.created to response.completed, response.incomplete or response.failed; no [DONE].",
    },
  },
  "POST /v1/embeddings": {
    summary: "Texts as vectors of length 1, by an embedding model",
    scope: "chat",
    errors: "openai",
    headers: sourceHeaders,
    body: embeddingsBodySchema,
    answers: { "application/json": answers.embeddingList },
  },
  "POST /v1/rerank": {
    summary: "Documents in the order in which they answer a query, by a reranker",
    scope: "chat",
    errors: "openai",
    headers: sourceHeaders,
    body: rerankBodySchema,
    answers: { "application/json": answers.ranking },
  },
  "GET /v1/models": {
    summary: "Models and aliases the key may ask",
    scope: "chat",
    errors: "openai",
    answers: { "application/json": answers.modelList },
  },
  "GET /v1/fits": {
    summary: "What fits where, asked in words such as 13b 6gb",
    scope: "none",
    errors: "problem",
    query: [
      ["q", text, "The question"],
      ["lang", languages, "Language of the answer"],
      ["format", text, "Instead of the Accept header"],
      ["columns", whole, "Width of a terminal picture"],
      ["theme", { enum: ["light", "dark", "auto"] }, "Colours of a picture"],
    ],
    answers: { "application/json": z.looseObject({}) },
  },
  "POST /v1/fits": {
    summary: "The same as JSON; see docs/fits.schema.json for the answers",
    scope: "none",
    errors: "problem",
    body: fitsRequestSchema,
    answers: { "application/json": z.looseObject({}) },
  },
  "GET /v1/models/catalogue": {
    summary: "Models the planner knows",
    scope: "none",
    errors: "problem",
    answers: { "application/json": z.unknown() },
  },
  "GET /v1/gpus": {
    summary: "Graphics cards the planner knows",
    scope: "none",
    errors: "problem",
    answers: { "application/json": z.unknown() },
  },
  "GET /v1/usage": {
    summary: "The ledger: newest rows and totals, or groups with quantiles",
    scope: "usage",
    errors: "problem",
    query: [
      ...period,
      ["group", groupings, "Groups instead of rows"],
      ["limit", whole, "Rows or groups; 50 unless said, 1000 at most"],
    ],
    answers: { "application/json": z.union([answers.usageReport, answers.usageGroups]) },
  },
  "GET /v1/usage/export": {
    summary: "All matching rows as a file",
    scope: "usage",
    errors: "problem",
    query: [...period, ["format", { enum: ["csv", "json"] }, "csv unless said"]],
    answers: {
      "text/csv": "RFC 4180, with a line of names",
      "application/json": z.array(z.record(z.string(), z.unknown())),
    },
  },
  "POST /v1/feedback": {
    summary: "A thumb under an answer; a second one of the same user replaces the first",
    scope: "chat",
    errors: "problem",
    headers: sourceHeaders.slice(1, 2),
    body: feedbackSchema,
    status: 204,
    answers: {},
  },
  "GET /v1/keys": {
    summary: "All keys, without their secrets",
    scope: "admin",
    errors: "problem",
    answers: { "application/json": answers.keyList },
  },
  "POST /v1/keys": {
    summary: "Make a key; its secret is shown this once",
    scope: "admin",
    errors: "problem",
    body: keyRequestSchema,
    status: 201,
    answers: { "application/json": answers.issuedKey },
  },
  "DELETE /v1/keys/{id}": {
    summary: "Refuse a key from now on",
    scope: "admin",
    errors: "problem",
    answers: { "application/json": answers.key },
  },
  "GET /v1/engines": {
    summary: "Engines with their state, load and models",
    scope: "admin",
    errors: "problem",
    answers: { "application/json": answers.engineList },
  },
  "POST /v1/engines": {
    summary: "Register an engine or any OpenAI-compatible server, or replace the registered one of that name",
    scope: "admin",
    errors: "problem",
    body: engineRequestSchema,
    status: 201,
    answers: { "application/json": answers.engine },
  },
  "PATCH /v1/engines/{name}": {
    summary: "Weigh an engine, set it aside or take it back",
    scope: "admin",
    errors: "problem",
    body: engineChangeSchema,
    answers: { "application/json": answers.engine },
  },
  "DELETE /v1/engines/{name}": {
    summary: "Forget a registered engine",
    scope: "admin",
    errors: "problem",
    status: 204,
    answers: {},
  },
  "GET /v1/engines/{name}/status": {
    summary: "An engine's models with plan, memory, ladder steps, load and downloads",
    scope: "admin",
    errors: "problem",
    answers: { "application/json": answers.engineReport },
  },
  "GET /v1/engines/{name}/plan": {
    summary: "Would a model fit the engine's machine now, and what would be sent out for it?",
    scope: "admin",
    errors: "problem",
    query: [["model", text, "Name as the engine's models list it"]],
    answers: { "application/json": answers.loadForecast },
  },
  "GET /v1/engines/{name}/doctor": {
    summary: "How the engine's machine is: driver, memory, Resizable BAR, power, heat, disk, each with a remedy",
    scope: "admin",
    errors: "problem",
    query: [["lang", languages, "Language of the sentences; default en"]],
    answers: { "application/json": answers.doctorReport },
  },
  "GET /v1/engines/{name}/monitoring": {
    summary: "Memory, use, heat and power of the engine's GPUs over the last day, a look a minute",
    scope: "admin",
    errors: "problem",
    answers: { "application/json": answers.monitoringReport },
  },
  "GET /v1/warnings": {
    summary: "What is wrong with engines' machines now: a suspected spill, a card that slows down from heat",
    scope: "usage",
    errors: "problem",
    answers: { "application/json": z.strictObject({ warnings: z.array(answers.engineWarning) }) },
  },
  "POST /v1/engines/{name}/load": {
    summary: "Load a model on the engine, fetching it if need be; answers when it is ready",
    scope: "admin",
    errors: "problem",
    body: loadSchema,
    answers: { "application/json": answers.engineModel },
  },
  "POST /v1/engines/{name}/unload": {
    summary: "Free a model's memory on the engine; the next request for it loads it again",
    scope: "admin",
    errors: "problem",
    body: unloadSchema,
    answers: { "application/json": z.strictObject({ model: z.string(), unloaded: z.literal(true) }) },
  },
  "POST /v1/engines/{name}/drain": {
    summary: "Have the engine take no new requests from anybody, or take them again",
    scope: "admin",
    errors: "problem",
    body: drainSchema,
    answers: {
      "application/json": z.strictObject({
        draining: z.boolean(),
        active: z.int().min(0),
        queued: z.int().min(0),
      }),
    },
  },
  "POST /v1/compare": {
    summary: "Measure a model at several precisions on an engine's machine; answers with the job",
    scope: "compare",
    errors: "problem",
    body: compareRequestSchema.extend({ engine: z.string().optional() }),
    status: 202,
    answers: { "application/json": answers.compareJob },
  },
  "GET /v1/compare/{id}": {
    summary: "How a comparison is getting on, and in the end its report; as events where they are accepted",
    scope: "compare",
    errors: "problem",
    answers: {
      "application/json": answers.compareJob,
      "text/event-stream": "Events of type progress, then report, cancelled or error",
    },
  },
  "DELETE /v1/compare/{id}": {
    summary: "Cancel a comparison; answers when nothing of it is left",
    scope: "compare",
    errors: "problem",
    answers: { "application/json": answers.compareJob },
  },
  "GET /v1/requests": {
    summary: "Chats waiting or being answered in this process",
    scope: "admin",
    errors: "problem",
    answers: { "application/json": answers.liveRequestList },
  },
  "DELETE /v1/requests/{id}": {
    summary: "End a chat",
    scope: "admin",
    errors: "problem",
    answers: { "application/json": answers.liveRequest },
  },
  "GET /v1/link": {
    summary: "Where an engine dials in: upgraded to a WebSocket that carries its state, requests and answers",
    scope: "engine",
    errors: "openai",
    query: [["engine", { type: "string", pattern: "^[\\w.-]{1,64}$" }, "The engine's name behind this API"]],
    headers: [
      ["upgrade", { const: "websocket" }, "Without it the request is refused"],
      ["sec-websocket-protocol", { const: linkProtocol }, "Version of the link; docs/link.md tells what it carries"],
    ],
    status: 101,
    answers: {},
  },
  "GET /metrics": {
    summary: "Counters, gauges and histograms for Prometheus",
    scope: "admin",
    errors: "problem",
    answers: { "text/plain": "Prometheus exposition format 0.0.4" },
  },
  "GET /openapi.json": {
    summary: "This description",
    scope: "none",
    errors: "problem",
    answers: { "application/json": z.looseObject({}) },
  },
};

const scopeWords: Record<Scope, string> = {
  none: "Open to everybody.",
  chat: "Needs a key with the scope chat.",
  usage: "Needs a key with the scope usage.",
  compare: "Needs a key with the scope compare.",
  engine: "Needs a key with the scope engine.",
  admin: "Needs a key with the scope admin.",
};

export function describeApi(version: string): object {
  const components: Record<string, object> = {};
  const paths: Record<string, Record<string, object>> = {};
  for (const [route, operation] of Object.entries(operations)) {
    const [method = "", path = ""] = route.split(" ");
    paths[path] = { ...paths[path], [method.toLowerCase()]: renderOperation(path, operation, components) };
  }
  // Named for readers of streams, though no content type points at it.
  toSchema(answers.chatCompletionChunk, components, "output");
  return {
    openapi: "3.1.0",
    info: {
      title: "Snug",
      version,
      description: "Chat with models on one's own GPUs, in OpenAI's form; keys, quotas, usage and engines beside it.",
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: "/" }],
    tags: apiTags,
    paths,
    components: { securitySchemes: { key: { type: "http", scheme: "bearer" } }, schemas: components },
  };
}

function renderOperation(path: string, operation: Operation, components: Record<string, object>): object {
  const { summary, scope, errors, body, query = [], headers = [], status = 200 } = operation;
  const [errorType, errorSchema] =
    errors === "openai" ? ["application/json", answers.openAiError] : ["application/problem+json", answers.problem];
  const inPath = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]!);
  const parameters = [
    ...inPath.map((name) => ({ name, in: "path", required: true, schema: text })),
    ...query.map(([name, schema, description]) => ({ name, in: "query", schema, description })),
    ...headers.map(([name, schema, description]) => ({ name, in: "header", schema, description })),
  ];
  const tag = tagOf(path);
  return {
    ...(tag === undefined ? {} : { tags: [tag] }),
    summary,
    description: scopeWords[scope],
    ...(scope === "none" ? {} : { security: [{ key: [] }] }),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(body === undefined
      ? {}
      : {
          requestBody: {
            required: true,
            content: { "application/json": { schema: toSchema(body, components, "input") } },
          },
        }),
    responses: {
      [status]: { description: summary, ...contentOf(operation, components) },
      default: {
        description: "An error; see docs/errors.md",
        content: { [errorType!]: { schema: toSchema(errorSchema!, components, "output") } },
      },
    },
  };
}

function contentOf({ answers: byType }: Operation, components: Record<string, object>): object {
  const entries = Object.entries(byType).map(([type, answer]) => [
    type,
    { schema: typeof answer === "string" ? { ...text, description: answer } : toSchema(answer, components, "output") },
  ]);
  return entries.length === 0 ? {} : { content: Object.fromEntries(entries) };
}

/** Named schemas go to the components, and what uses them points there. */
function toSchema(schema: z.ZodType, components: Record<string, object>, io: "input" | "output"): object {
  const {
    $schema: _,
    $defs = {},
    id,
    ...rest
  } = z.toJSONSchema(schema, { io, unrepresentable: "any" }) as Record<string, unknown>;
  for (const [name, definition] of Object.entries($defs as Record<string, object>)) {
    components[name] = withComponentPointers(definition);
  }
  const rendered = withComponentPointers(rest);
  if (typeof id !== "string") return rendered;
  components[id] = rendered;
  return { $ref: `#/components/schemas/${id}` };
}

function withComponentPointers(schema: object): object {
  const text = JSON.stringify(schema).replaceAll('"#/$defs/', '"#/components/schemas/');
  const { id: _, ...rest } = JSON.parse(text);
  return rest;
}
