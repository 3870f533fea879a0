/** Tools and forms of the answer in a chat completion's body, read and written. */
import * as z from "zod";
import type { ChatMessage, ChatRequest, JsonSchema, ResponseFormat, Tool, ToolCall } from "../core/chat.ts";
import { AppError } from "../core/errors.ts";
import { schemaDepthMax, schemaNodesMax, toolCallsPerAnswerMax, toolsPerRequestMax } from "../core/limits.ts";
import { defined, type JsonObject } from "./chat-wire.ts";

const flag = z.boolean("must be true or false").nullish();

const functionName = z
  .string("must be a text")
  .regex(/^[\w.-]{1,64}$/, "must be 1 to 64 letters, digits, dots, dashes and underscores");

/** A schema is passed on as it is; the engine that keeps it says what it cannot keep. */
const schema = z
  .record(z.string(), z.unknown(), "must be a JSON Schema")
  .refine((value) => isShallow(value), `must be nested less deep than ${schemaDepthMax}, with few parts`);

const parameters = schema.refine(
  ({ type = "object" }) => type === "object",
  'must be the schema of an object: its type must be "object"',
);

const tool = z.object({
  type: z.literal("function", 'must be "function"'),
  function: z.object(
    {
      name: functionName,
      description: z.string("must be a text").nullish(),
      parameters: parameters.nullish(),
      strict: flag,
    },
    "must be an object with a name",
  ),
});

const choiceWords = 'must be "none", "auto", "required" or {"type":"function","function":{"name":…}}';

export const toolFields = {
  tools: z
    .array(tool, "must be a list of functions")
    .max(toolsPerRequestMax, `must hold at most ${toolsPerRequestMax}`)
    .nullish(),
  tool_choice: z
    .union(
      [
        z.enum(["none", "auto", "required"]),
        z.object({ type: z.literal("function"), function: z.object({ name: z.string() }) }),
      ],
      choiceWords,
    )
    .nullish(),
  parallel_tool_calls: flag,
  response_format: z
    .discriminatedUnion(
      "type",
      [
        z.object({ type: z.literal("text") }),
        z.object({ type: z.literal("json_object") }),
        z.object({
          type: z.literal("json_schema"),
          json_schema: z.object({ name: functionName, schema, strict: flag }, "must be an object with name and schema"),
        }),
      ],
      { error: 'must be "text", "json_object" or "json_schema"' },
    )
    .nullish(),
};

type ToolFields = z.output<z.ZodObject<typeof toolFields>>;

/** @throws AppError invalid_request for a choice among tools that are not there */
export function readTools(fields: ToolFields): Partial<ChatRequest> {
  const tools = (fields.tools ?? []).map(({ function: one }): Tool => {
    const hasArguments = one.parameters != null && !takesNothing(one.parameters);
    return defined({
      name: one.name,
      description: one.description ?? undefined,
      parameters: hasArguments ? (one.parameters ?? undefined) : undefined,
      strict: one.strict ?? undefined,
    });
  });
  const names = tools.map(({ name }) => name);
  const twice = names.findIndex((name, index) => names.indexOf(name) !== index);
  if (twice >= 0) throw fault(`tools[${twice}].function.name`, `is taken: there are two tools of this name`);
  const choice = readChoice(fields.tool_choice ?? undefined, names);
  return defined({
    tools: tools.length === 0 ? undefined : tools,
    toolChoice: choice,
    parallelToolCalls: fields.parallel_tool_calls ?? undefined,
    responseFormat: readFormat(fields.response_format ?? undefined),
  });
}

function readChoice(choice: NonNullable<ToolFields["tool_choice"]> | undefined, names: readonly string[]) {
  if (choice === undefined || choice === "auto" || choice === "none") return choice;
  if (names.length === 0) throw fault("tool_choice", "asks for a call, but tools is empty");
  if (choice === "required") return choice;
  const { name } = choice.function;
  if (!names.includes(name)) {
    throw fault("tool_choice", `names ${JSON.stringify(name.slice(0, 64))}, which is not among the tools`);
  }
  return { name };
}

function readFormat(format: NonNullable<ToolFields["response_format"]> | undefined): ResponseFormat | undefined {
  if (format === undefined || format.type === "text") return undefined;
  if (format.type === "json_object") return { type: "json_object" };
  const { name, schema: form, strict } = format.json_schema;
  return { type: "json_schema", name, schema: form, strict: strict ?? false };
}

/** Frameworks describe a function without arguments so; the model then has nothing to fill in. */
function takesNothing({ properties, additionalProperties = false }: JsonSchema): boolean {
  const empty = properties === undefined || (isObject(properties) && Object.keys(properties).length === 0);
  return empty && additionalProperties === false;
}

export const callSchema = z.object({
  id: z.string("must be a text").min(1, "must not be empty"),
  type: z.literal("function", 'must be "function"').optional(),
  function: z.object({ name: functionName, arguments: z.string("must be JSON as a text") }, "must be an object"),
});

export const callsSchema = z
  .array(callSchema, "must be a list of calls")
  .max(toolCallsPerAnswerMax, `must hold at most ${toolCallsPerAnswerMax}`);

export function readCalls(calls: z.output<typeof callsSchema>): ToolCall[] {
  return calls.map(({ id, function: called }) => ({ id, name: called.name, arguments: called.arguments }));
}

/**
 * Every call has one result, right after the message that made it.
 *
 * @throws AppError invalid_request naming the message at fault
 */
export function requireAnsweredCalls(messages: readonly ChatMessage[]): void {
  let open = new Set<string>();
  for (const [index, message] of messages.entries()) {
    if (message.role === "tool") {
      if (!open.delete(message.toolCallId ?? "")) {
        throw fault(`messages[${index}].tool_call_id`, "answers no call of the assistant's message before it");
      }
      continue;
    }
    if (open.size > 0) throw unanswered(index, open);
    const ids = (message.toolCalls ?? []).map(({ id }) => id);
    open = new Set(ids);
    if (open.size < ids.length) throw fault(`messages[${index}].tool_calls`, "must have ids of their own");
  }
  if (open.size > 0) throw unanswered(messages.length, open);
}

function unanswered(index: number, open: ReadonlySet<string>): AppError {
  const id = JSON.stringify([...open][0]?.slice(0, 64));
  const message = `messages[${index}] must be a tool's message with tool_call_id ${id}: that call has no result yet.`;
  return new AppError("invalid_request", message, { param: `messages[${index}]` });
}

export function renderMessage(message: ChatMessage): JsonObject {
  const { role, content, toolCalls, toolCallId } = message;
  if (toolCallId !== undefined) return { role, content, tool_call_id: toolCallId };
  if (toolCalls === undefined) return { role, content };
  const calls = toolCalls.map(({ id, name, arguments: written }) => ({
    id,
    type: "function",
    function: { name, arguments: written },
  }));
  return { role, content: content === "" ? null : content, tool_calls: calls };
}

/** Undefined members vanish on the way. */
export function renderTools({ tools, toolChoice, parallelToolCalls, responseFormat }: ChatRequest): JsonObject {
  return {
    // The older servers insist on a schema.
    tools: tools?.map(({ parameters: form = { type: "object", properties: {} }, ...one }) => ({
      type: "function",
      function: { ...one, parameters: form },
    })),
    tool_choice: typeof toolChoice === "object" ? { type: "function", function: toolChoice } : toolChoice,
    parallel_tool_calls: parallelToolCalls,
    response_format: responseFormat === undefined ? undefined : renderFormat(responseFormat),
  };
}

function renderFormat(format: ResponseFormat): JsonObject {
  if (format.type === "json_object") return { type: "json_object" };
  const { name, schema: form, strict } = format;
  return { type: "json_schema", json_schema: { name, schema: form, strict } };
}

/** Looks without recursion: a hostile schema may be nested deeper than the stack. */
function isShallow(root: unknown): boolean {
  let level: unknown[] = [root];
  let count = 0;
  // A level of a schema is two or three of its JSON.
  for (let depth = 0; level.length > 0; depth++) {
    count += level.length;
    if (depth > schemaDepthMax * 3 || count > schemaNodesMax * 4) return false;
    level = level.flatMap((value) => (typeof value === "object" && value !== null ? Object.values(value) : []));
  }
  return true;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function fault(param: string, what: string): AppError {
  return new AppError("invalid_request", `${param} ${what}.`, { param });
}
