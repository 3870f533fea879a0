/**
 * A scripted OpenAI-compatible server. The model's name says what is written: "stream-32-10" is 32 chunks of one token,
 * 10 ms apart; "stream-20-0" sends 20 at once. Plain JavaScript, so that Node runs it as it is.
 */
import { createServer } from "node:http";

const created = 1_767_225_600;

const chunk = (model, choices, more = {}) =>
  `data: ${JSON.stringify({ id: "chatcmpl-scripted", object: "chat.completion.chunk", created, model, choices, ...more })}\n\n`;
const choice = (delta, finishReason = null) => [{ index: 0, delta, logprobs: null, finish_reason: finishReason }];

/** Frames of each model name, made once: the server must cost as little as it can. */
const scripts = new Map();

function scriptOf(model) {
  const known = scripts.get(model);
  if (known !== undefined) return known;
  const [, tokens, gapMs] = /^stream-(\d+)-(\d+)$/.exec(model) ?? [undefined, "8", "0"];
  const count = Number(tokens);
  const usage = { prompt_tokens: 12, completion_tokens: count, total_tokens: 12 + count };
  const script = {
    gapMs: Number(gapMs),
    head: Buffer.from(chunk(model, choice({ role: "assistant", content: "" }))),
    tokens: Array.from({ length: count }, (_, place) => Buffer.from(chunk(model, choice({ content: ` w${place}` })))),
    tail: Buffer.from(`${chunk(model, choice({}, "stop"))}${chunk(model, [], { usage })}data: [DONE]\n\n`),
  };
  scripts.set(model, script);
  return script;
}

const headers = { "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache" };

function answer(model, response) {
  const { gapMs, head, tokens, tail } = scriptOf(model);
  response.writeHead(200, headers);
  if (gapMs === 0) {
    response.end(Buffer.concat([head, ...tokens, tail]));
    return;
  }
  response.write(Buffer.concat([head, tokens[0]]));
  let next = 1;
  const timer = setInterval(() => {
    if (next < tokens.length) response.write(tokens[next++]);
    else {
      clearInterval(timer);
      response.end(tail);
    }
  }, gapMs);
  response.on("close", () => clearInterval(timer));
}

const server = createServer((request, response) => {
  if (request.method === "GET") {
    response.writeHead(200, { "content-type": "application/json" });
    response.end(request.url === "/health" ? "{}" : JSON.stringify({ object: "list", data: [{ id: "stream-20-0" }] }));
    return;
  }
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => answer(JSON.parse(Buffer.concat(parts).toString()).model, response));
});
server.keepAliveTimeout = 60_000;
server.listen(0, "127.0.0.1", () => console.log(`listening ${server.address().port}`));
