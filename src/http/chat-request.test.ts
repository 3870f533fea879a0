import { describe, expect, it } from "vitest";
import { AppError } from "../core/errors.ts";
import { parseChatCall, renderChatBody } from "./chat-request.ts";

const messages = [{ role: "user", content: "Hi" }];
const body = { model: "m", messages };

const withTools = (...functions: object[]) => ({
  ...body,
  tools: functions.map((one) => ({ type: "function", function: one })),
});

const calling = (...ids: string[]) => ({
  role: "assistant",
  content: null,
  tool_calls: ids.map((id) => ({ id, type: "function", function: { name: "f", arguments: "{}" } })),
});

const result = (id: string) => ({ role: "tool", tool_call_id: id, content: "1" });

function refusal(value: unknown): { code: string; param: string | undefined; message: string } {
  try {
    parseChatCall(value);
  } catch (thrown) {
    if (thrown instanceof AppError) return { code: thrown.code, param: thrown.param, message: thrown.message };
    throw thrown;
  }
  throw new Error("was accepted");
}

describe("a chat completion body", () => {
  it("becomes a chat request", () => {
    const call = parseChatCall({
      model: "m",
      messages: [
        { role: "developer", content: "Be brief." },
        {
          role: "user",
          content: [
            { type: "text", text: "one" },
            { type: "text", text: "two" },
          ],
        },
        { role: "assistant", content: "three" },
      ],
      stream: true,
      stream_options: { include_usage: true },
      max_tokens: 5,
      max_completion_tokens: 7,
      temperature: 0,
      top_p: 0.5,
      seed: -3,
      stop: "END",
      user: "ann",
    });
    expect(call).toEqual({
      request: {
        model: "m",
        messages: [
          { role: "system", content: "Be brief." },
          { role: "user", content: "one\ntwo" },
          { role: "assistant", content: "three" },
        ],
        maxTokens: 7,
        temperature: 0,
        topP: 0.5,
        seed: -3,
        stop: ["END"],
        userId: "ann",
      },
      stream: true,
      includeUsage: true,
    });
  });

  it("takes null for left out, as some clients send it", () => {
    const nulls = Object.fromEntries(
      ["stream", "stream_options", "max_tokens", "temperature", "top_p", "seed", "stop", "user", "n", "tools"].map(
        (name) => [name, null],
      ),
    );
    expect(parseChatCall({ ...body, ...nulls })).toEqual({
      request: { model: "m", messages },
      stream: false,
      includeUsage: false,
    });
  });

  it("ignores fields it does not know and those that ask for the default", () => {
    const extra = { metadata: { a: 1 }, n: 1, tools: [], logit_bias: {}, store: true };
    expect(parseChatCall({ ...body, ...extra, response_format: { type: "text" } }).request).toEqual({
      model: "m",
      messages,
    });
  });

  it("reads back what it writes for an upstream", () => {
    const { request } = parseChatCall({
      ...body,
      max_tokens: 3,
      temperature: 1,
      top_p: 1,
      top_k: 20,
      min_p: 0.1,
      repetition_penalty: 1.1,
      presence_penalty: -0.5,
      frequency_penalty: 0.5,
      logit_bias: { "50256": -100, "7": 2 },
      seed: 1,
      stop: ["a"],
      user: "u",
    });
    expect(request).toMatchObject({
      topK: 20,
      minP: 0.1,
      repeatPenalty: 1.1,
      presencePenalty: -0.5,
      frequencyPenalty: 0.5,
      logitBias: { 50256: -100, 7: 2 },
    });
    const call = parseChatCall(JSON.parse(JSON.stringify(renderChatBody(request))));
    expect(call).toEqual({ request, stream: true, includeUsage: true });
  });

  it("reads tools, forms and a conversation with calls, and writes them as they were", () => {
    const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
    const schema = { type: "object", properties: { ok: { type: "boolean" } } };
    const { request } = parseChatCall({
      ...withTools({ name: "weather", description: "Of a city", parameters, strict: true }, { name: "now" }),
      messages: [...messages, calling("a", "b"), result("b"), result("a"), { role: "assistant", content: "Fine." }],
      tool_choice: { type: "function", function: { name: "weather" } },
      parallel_tool_calls: false,
      response_format: { type: "json_schema", json_schema: { name: "answer", schema, strict: true } },
      truncation: "auto",
    });
    expect(request).toEqual({
      model: "m",
      messages: [
        { role: "user", content: "Hi" },
        {
          role: "assistant",
          content: "",
          toolCalls: [
            { id: "a", name: "f", arguments: "{}" },
            { id: "b", name: "f", arguments: "{}" },
          ],
        },
        { role: "tool", content: "1", toolCallId: "b" },
        { role: "tool", content: "1", toolCallId: "a" },
        { role: "assistant", content: "Fine." },
      ],
      tools: [{ name: "weather", description: "Of a city", parameters, strict: true }, { name: "now" }],
      toolChoice: { name: "weather" },
      parallelToolCalls: false,
      responseFormat: { type: "json_schema", name: "answer", schema, strict: true },
      truncation: "auto",
    });
    expect(parseChatCall(JSON.parse(JSON.stringify(renderChatBody(request)))).request).toEqual(request);
  });

  it("does not follow schemas nested deeper than any form in use", () => {
    const deep = JSON.parse(`${'{"items":'.repeat(50_000)}{}${"}".repeat(50_000)}`);
    expect(refusal(withTools({ name: "f", parameters: { properties: deep } })).param).toBe(
      "tools[0].function.parameters",
    );
  });

  const text = (content: unknown) => ({ ...body, messages: [{ role: "user", content }] });
  it.each([
    ["null", null, undefined],
    ["a list", [], undefined],
    ["a text", "{}", undefined],
    ["no model", { messages }, "model"],
    ["an empty model", { model: "", messages }, "model"],
    ["a huge model name", { model: "m".repeat(10_000), messages }, "model"],
    ["no messages", { model: "m" }, "messages"],
    ["empty messages", { model: "m", messages: [] }, "messages"],
    ["too many messages", { model: "m", messages: Array(5000).fill(messages[0]) }, "messages"],
    ["a message that is a text", { model: "m", messages: ["Hi"] }, "messages[0]"],
    ["an unknown role", { model: "m", messages: [{ role: "robot", content: "Hi" }] }, "messages[0].role"],
    [
      "a role from Object's prototype",
      { model: "m", messages: [{ role: "constructor", content: "" }] },
      "messages[0].role",
    ],
    ["a tool's message", { model: "m", messages: [{ role: "tool", content: "42" }] }, "messages[0].tool_call_id"],
    ["content null", text(null), "messages[0].content"],
    ["content a number", text(7), "messages[0].content"],
    ["an empty list of parts", text([]), "messages[0].content"],
    ["an image part", text([{ type: "image_url", image_url: { url: "http://x" } }]), "messages[0].content[0].type"],
    ["a part without text", text([{ type: "text" }]), "messages[0].content[0].text"],
    ["negative max_tokens", { ...body, max_tokens: -1 }, "max_tokens"],
    ["fractional max_tokens", { ...body, max_tokens: 1.5 }, "max_tokens"],
    ["max_tokens as a text", { ...body, max_tokens: "12" }, "max_tokens"],
    ["zero max_completion_tokens", { ...body, max_completion_tokens: 0 }, "max_completion_tokens"],
    ["a temperature over 2", { ...body, temperature: 2.1 }, "temperature"],
    ["a negative temperature", { ...body, temperature: -0.1 }, "temperature"],
    ["top_p 0", { ...body, top_p: 0 }, "top_p"],
    ["top_p over 1", { ...body, top_p: 1.1 }, "top_p"],
    ["a seed beyond whole numbers", { ...body, seed: 1e300 }, "seed"],
    ["an empty stop", { ...body, stop: "" }, "stop[0]"],
    ["too many stops", { ...body, stop: Array(17).fill("x") }, "stop"],
    ["a stop that is a number", { ...body, stop: 3 }, "stop"],
    ["stream as a text", { ...body, stream: "yes" }, "stream"],
    ["a huge user", { ...body, user: "u".repeat(1000) }, "user"],
    ["two answers", { ...body, n: 2 }, "n"],
    ["functions", { ...body, functions: [{ name: "f" }] }, "functions"],
    ["a tool without a function", { ...body, tools: [{ type: "function" }] }, "tools[0].function"],
    ["a tool that is no function", { ...body, tools: [{ type: "web_search" }] }, "tools[0].type"],
    ["a tool without a name", withTools({ name: "" }), "tools[0].function.name"],
    ["a tool's name with spaces", withTools({ name: "look up" }), "tools[0].function.name"],
    ["two tools of one name", withTools({ name: "f" }, { name: "f" }), "tools[1].function.name"],
    ["parameters that are a list", withTools({ name: "f", parameters: [] }), "tools[0].function.parameters"],
    [
      "parameters that are no object's",
      withTools({ name: "f", parameters: { type: "string" } }),
      "tools[0].function.parameters",
    ],
    ["too many tools", { ...body, tools: Array(129).fill({ type: "function", function: { name: "f" } }) }, "tools"],
    ["an unknown tool_choice", { ...withTools({ name: "f" }), tool_choice: "any" }, "tool_choice"],
    [
      "a tool_choice of a tool that is not there",
      { ...withTools({ name: "f" }), tool_choice: { type: "function", function: { name: "g" } } },
      "tool_choice",
    ],
    ["a required call without tools", { ...body, tool_choice: "required" }, "tool_choice"],
    ["an unknown response_format", { ...body, response_format: { type: "xml" } }, "response_format.type"],
    [
      "a json_schema without a schema",
      { ...body, response_format: { type: "json_schema", json_schema: { name: "x" } } },
      "response_format.json_schema.schema",
    ],
    ["an unknown truncation", { ...body, truncation: "middle" }, "truncation"],
    ["a call without a result", { ...body, messages: [...messages, calling("a"), ...messages] }, "messages[2]"],
    ["a call without a result at the end", { ...body, messages: [...messages, calling("a")] }, "messages[2]"],
    [
      "a result without its call",
      { ...body, messages: [...messages, { role: "tool", tool_call_id: "a", content: "1" }] },
      "messages[1].tool_call_id",
    ],
    [
      "a second result of a call",
      {
        ...body,
        messages: [
          ...messages,
          calling("a"),
          { role: "tool", tool_call_id: "a", content: "1" },
          { role: "tool", tool_call_id: "a", content: "1" },
        ],
      },
      "messages[3].tool_call_id",
    ],
    ["two calls of one id", { ...body, messages: [...messages, calling("a", "a")] }, "messages[1].tool_calls"],
    [
      "a call whose arguments are no text",
      { ...body, messages: [{ role: "assistant", tool_calls: [{ id: "a", function: { name: "f", arguments: {} } }] }] },
      "messages[0].tool_calls[0].function.arguments",
    ],
    ["logprobs as a number", { ...body, logprobs: 2 }, "logprobs"],
    ["top_logprobs without logprobs", { ...body, top_logprobs: 2 }, "top_logprobs"],
    ["too many top_logprobs", { ...body, logprobs: true, top_logprobs: 21 }, "top_logprobs"],
    ["negative top_logprobs", { ...body, logprobs: true, top_logprobs: -1 }, "top_logprobs"],
    [
      "a picture",
      { ...body, messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: "data:," } }] }] },
      "messages[0].content[0].type",
    ],
    ["a negative top_k", { ...body, top_k: -2 }, "top_k"],
    ["a fractional top_k", { ...body, top_k: 1.5 }, "top_k"],
    ["min_p over 1", { ...body, min_p: 1.5 }, "min_p"],
    ["a repeat_penalty of 0", { ...body, repeat_penalty: 0 }, "repeat_penalty"],
    ["a repetition_penalty as a text", { ...body, repetition_penalty: "1.1" }, "repetition_penalty"],
    ["a presence_penalty over 2", { ...body, presence_penalty: 2.5 }, "presence_penalty"],
    ["a frequency_penalty under -2", { ...body, frequency_penalty: -2.5 }, "frequency_penalty"],
    ["a logit_bias over 100", { ...body, logit_bias: { 7: 101 } }, "logit_bias.7"],
    ["a logit_bias for a word", { ...body, logit_bias: { hello: 1 } }, "logit_bias.hello"],
    ["a logit_bias that is a list", { ...body, logit_bias: [1] }, "logit_bias"],
    [
      "a logit_bias for too many tokens",
      { ...body, logit_bias: Object.fromEntries(Array.from({ length: 2000 }, (_, id) => [id, 1])) },
      "logit_bias",
    ],
    ["audio", { ...body, modalities: ["text", "audio"] }, "modalities[1]"],
  ])("%s is refused and the field named", (_name, value, param) => {
    const { code, param: named, message } = refusal(value);
    expect(code).toBe("invalid_request");
    expect(named).toBe(param);
    expect(message).toMatch(/^[^\n]{10,200}\.$/);
    if (param !== undefined) expect(message.startsWith(param)).toBe(true);
  });

  it("asks for probabilities in OpenAI's words", () => {
    expect(parseChatCall({ ...body, logprobs: true }).request.logprobs).toEqual({ top: 0 });
    expect(parseChatCall({ ...body, logprobs: true, top_logprobs: 5 }).request.logprobs).toEqual({ top: 5 });
    expect(parseChatCall({ ...body, logprobs: false }).request.logprobs).toBeUndefined();
    const written = renderChatBody({ model: "m", messages: [], logprobs: { top: 3 } });
    expect(written).toMatchObject({ logprobs: true, top_logprobs: 3 });
  });

  it("a picture's refusal names the model and says what to do", () => {
    const parts = [
      { type: "text", text: "What is it?" },
      { type: "image_url", image_url: { url: "data:," } },
    ];
    const { message } = refusal({ model: "small-vision", messages: [{ role: "user", content: parts }] });
    expect(message).toContain('"small-vision"');
    expect(message).toMatch(/cannot see.*send text, or ask a server whose engine runs a vision model/);
  });

  it("survives prototype keys and leaves Object's prototype alone", () => {
    const hostile = JSON.parse(
      '{"model":"m","messages":[{"role":"user","content":"Hi","__proto__":{"polluted":1}}],"__proto__":{"stream":true},"constructor":{"prototype":{"polluted":1}}}',
    );
    const call = parseChatCall(hostile);
    expect(call).toEqual({ request: { model: "m", messages }, stream: false, includeUsage: false });
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });

  it("does not follow deep nesting", () => {
    const deep = JSON.parse(`${"[".repeat(100_000)}${"]".repeat(100_000)}`);
    expect(refusal({ ...body, messages: [{ role: "user", content: deep }] }).param).toBe("messages[0].content[0]");
    expect(parseChatCall({ ...body, metadata: deep }).request.model).toBe("m");
  });
});
