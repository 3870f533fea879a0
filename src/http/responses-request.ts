/** The body of POST /v1/responses, read as a chat. */
import * as z from "zod";
import { AppError } from "../core/errors.ts";
import { messagesPerRequestMax, textPartsMax } from "../core/limits.ts";
import { type ChatCall, parseChatCall, requestError } from "./chat-request.ts";
import { defined, type JsonObject } from "./chat-wire.ts";

const roles = ["system", "developer", "user", "assistant"] as const;
const roleMessage = "must be system, developer, user or assistant";
const noMemory = "is not supported: this server keeps no conversations; send the messages in input";
const text = z.string("must be a text");

const parts = z.array(
  z.object({
    type: z.enum(["input_text", "output_text"], 'must be "input_text": this server reads text only'),
    text,
  }),
);
const texts = z.union([z.string(), parts.max(textPartsMax)], "must be a text or a list of input_text parts");

const itemSchema = z.discriminatedUnion(
  "type",
  [
    z.object({
      type: z.literal("message"),
      role: z.enum(roles, roleMessage),
      content: texts.refine((content) => content.length > 0 || typeof content === "string", "must not be empty"),
    }),
    z.object({ type: z.literal("function_call"), call_id: text, name: text, arguments: text }),
    z.object({ type: z.literal("function_call_output"), call_id: text, output: texts }),
    // What a model thought before is not shown to it again.
    z.object({ type: z.literal("reasoning") }),
  ],
  { error: 'must be "message", "function_call", "function_call_output" or "reasoning"' },
);

/** A message may leave its type out. */
const inputItem = z.preprocess((value) => {
  const untyped = typeof value === "object" && value !== null && !("type" in value);
  return untyped ? { ...value, type: "message" } : value;
}, itemSchema);

const tool = z.looseObject({
  type: z.literal("function", 'must be "function": this server runs no tools of its own'),
  name: text,
});
const formats = ["text", "json_object", "json_schema"] as const;

/** What only this form has; the rest is checked as in a chat. */
export const responseBodySchema = z.looseObject({
  model: z.string("must name a model; GET /v1/models lists them"),
  input: z.union(
    [z.string(), z.array(inputItem).min(1).max(messagesPerRequestMax)],
    "must be a text or a list of messages, calls and their outputs, of text",
  ),
  instructions: text.nullish(),
  max_output_tokens: z.int("must be a whole number").min(1, "must be at least 1").nullish(),
  stream: z.boolean("must be true or false").nullish(),
  tools: z.array(tool, "must be a list of functions").nullish(),
  tool_choice: z
    .union(
      [z.enum(["none", "auto", "required"]), z.object({ type: z.literal("function"), name: z.string() })],
      'must be "none", "auto", "required" or {"type":"function","name":…}',
    )
    .nullish(),
  parallel_tool_calls: z.boolean("must be true or false").nullish(),
  previous_response_id: z.null(noMemory).optional(),
  conversation: z.null(noMemory).optional(),
  background: z.literal(false, "is not supported; leave it out").nullish(),
  text: z
    .looseObject({
      format: z.looseObject({ type: z.enum(formats, 'must be "text", "json_object" or "json_schema"') }).nullish(),
    })
    .nullish(),
});

type Fields = z.output<typeof responseBodySchema>;
type Item = z.output<typeof itemSchema>;

/** @throws AppError invalid_request naming the field at fault */
export function parseResponseCall(body: unknown): ChatCall {
  const parsed = responseBodySchema.safeParse(body);
  if (!parsed.success) throw requestError(parsed.error.issues[0]!, "model and input");
  const { input, instructions, max_output_tokens, model, stream, temperature, top_p, user, truncation } = parsed.data;
  const messages: JsonObject[] = [];
  if (instructions != null && instructions !== "") messages.push({ role: "system", content: instructions });
  if (typeof input === "string") messages.push({ role: "user", content: input });
  else for (const item of input) addItem(messages, item);
  const chat = {
    model,
    messages,
    stream,
    max_tokens: max_output_tokens,
    temperature,
    top_p,
    user,
    truncation,
    ...toChatTools(parsed.data),
  };
  try {
    return parseChatCall(chat);
  } catch (thrown) {
    throw thrown instanceof AppError ? renamed(thrown) : thrown;
  }
}

/** Calls belong to the message of the assistant before them, or to one without words. */
function addItem(messages: JsonObject[], item: Item): void {
  if (item.type === "reasoning") return;
  if (item.type === "message") {
    messages.push({ role: item.role, content: joined(item.content) });
    return;
  }
  if (item.type === "function_call_output") {
    messages.push({ role: "tool", tool_call_id: item.call_id, content: joined(item.output) });
    return;
  }
  const call = { id: item.call_id, type: "function", function: { name: item.name, arguments: item.arguments } };
  const last = messages.at(-1);
  if (last?.role !== "assistant") messages.push({ role: "assistant", content: null, tool_calls: [call] });
  else last.tool_calls = [...(Array.isArray(last.tool_calls) ? last.tool_calls : []), call];
}

function joined(content: z.output<typeof texts>): string {
  return typeof content === "string" ? content : content.map((part) => part.text).join("\n");
}

function toChatTools({ tools, tool_choice: choice, parallel_tool_calls, text: form }: Fields): JsonObject {
  const format = form?.format;
  return defined({
    tools: tools?.map(({ type, ...called }) => ({ type, function: called })),
    tool_choice: typeof choice === "object" && choice !== null ? { type: "function", function: choice } : choice,
    parallel_tool_calls,
    response_format:
      format?.type === "json_schema"
        ? { type: format.type, json_schema: { ...format, type: undefined } }
        : format == null
          ? undefined
          : { type: format.type },
  });
}

/** The chat's fields under the names this form has for them. */
const names: [RegExp, string][] = [
  [/^tools\[(\d+)\]\.function\b/, "tools[$1]"],
  [/^response_format(\.json_schema)?\b/, "text.format"],
  [/^messages\[\d+\].*/, "input"],
  [/^messages\b/, "input"],
  [/^max_tokens\b/, "max_output_tokens"],
];

function renamed(error: AppError): AppError {
  const { param, code, message } = error;
  const found = param === undefined ? undefined : names.find(([pattern]) => pattern.test(param));
  if (param === undefined || found === undefined) return error;
  const name = param.replace(found[0], found[1]);
  const told = message.startsWith(param) ? `${name}${message.slice(param.length)}` : message;
  return new AppError(code, told, { param: name, ...(error.details === undefined ? {} : { details: error.details }) });
}
