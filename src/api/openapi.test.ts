import { afterEach, beforeEach, describe, expect, it } from "vitest";
import * as z from "zod";
import { openApi, type TestApi } from "../../test/support/api.ts";
import { holdToDescription } from "../../test/support/described.ts";
import { serveEngine } from "../../test/support/engine-server.ts";
import { FakeEngine } from "../../test/support/fake-engine.ts";

let api: TestApi;

beforeEach(async () => {
  api = await openApi();
});

afterEach(() => api.close());

interface Description {
  openapi: string;
  paths: Record<
    string,
    Record<
      string,
      {
        tags: string[];
        parameters?: { name: string; schema: object }[];
        responses: Record<string, { content?: Record<string, { schema: object }> }>;
      }
    >
  >;
  tags: { name: string }[];
  components: { schemas: Record<string, object> };
}

const read = async () => (await (await api.app.request("/openapi.json")).json()) as Description;

/** The schema of the description, with its components, as something to hold an answer against. */
function validator(description: Description, schema: object) {
  const whole = { ...schema, $defs: description.components.schemas };
  const text = JSON.stringify(whole).replaceAll("#/components/schemas/", "#/$defs/");
  return z.fromJSONSchema(JSON.parse(text));
}

const json = { "content-type": "application/json" };

it("every route is described, and everything described is a route", async () => {
  const { paths, openapi } = await read();
  expect(openapi).toBe("3.1.0");
  const described = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  );
  const routes = api.app.routes
    // Pages are for people.
    .filter(({ method, path }) => method !== "ALL" && !/^\/(admin|docs)(\/|$)/.test(path))
    .map(({ method, path }) => `${method} ${path.replace(/:(\w+)/g, "{$1}")}`);
  expect([...new Set(routes)].sort()).toEqual(described.sort());
});

it("every route stands under one of the headings, and no heading is empty", async () => {
  const { paths, tags } = await read();
  const headings = tags.map(({ name }) => name);
  const used = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => {
      expect(operation.tags, `${method} ${path}`).toHaveLength(1);
      expect(headings, `${method} ${path}`).toContain(operation.tags[0]);
      return operation.tags[0];
    }),
  );
  expect([...new Set(used)].sort()).toEqual([...headings].sort());
  expect(paths["/v1/models/catalogue"]?.get?.tags).toEqual(["planner"]);
  expect(paths["/v1/models"]?.get?.tags).toEqual(["models"]);
});

it("every parameter has a schema of JSON Schema's own words", async () => {
  const words = ["type", "enum", "const", "minimum", "pattern"];
  for (const [path, methods] of Object.entries((await read()).paths)) {
    for (const { parameters = [] } of Object.values(methods)) {
      for (const { name, schema } of parameters) {
        expect(words, `${path} ${name}`).toEqual(expect.arrayContaining(Object.keys(schema)));
      }
    }
  }
});

it("every pointer in it leads somewhere", async () => {
  const description = await read();
  const pointers = [...JSON.stringify(description).matchAll(/"\$ref":"([^"]+)"/g)].map((match) => match[1]!);
  expect(pointers.length).toBeGreaterThan(10);
  for (const pointer of pointers) {
    expect(Object.keys(description.components.schemas)).toContain(pointer.replace("#/components/schemas/", ""));
  }
});

describe("a real answer is what the description says", () => {
  const send = (method: string, path: string, body?: unknown) =>
    api.request(path, { method, ...(body === undefined ? {} : { body: JSON.stringify(body), headers: json }) });

  async function hold(route: string, answering: Response | Promise<Response>): Promise<unknown> {
    const description = await read();
    const response = await answering;
    const [method = "", path = ""] = route.split(" ");
    const { responses } = description.paths[path]![method.toLowerCase()]!;
    const { content } = responses[response.status] ?? responses.default!;
    const type = response.headers.get("content-type")!.split(";")[0]!;
    const schema = content?.[type]?.schema;
    expect(schema, `${route} ${response.status} ${type}`).toBeDefined();
    const body = await response.json();
    const checked = validator(description, schema!).safeParse(body);
    expect(checked.error?.issues ?? [], `${route}: ${JSON.stringify(body)}`).toEqual([]);
    return body;
  }

  it("for chats, models, health and the ledger", async () => {
    await hold("POST /v1/chat/completions", api.chat({ user: "ann" }));
    await hold("POST /v1/chat/completions", api.chat({ model: "none" }));
    api.engine.script = () => [{ piece: { type: "reasoning", text: "Hm." } }, { text: "Hello" }];
    const thought = await hold("POST /v1/chat/completions", api.chat({}));
    expect(thought).toMatchObject({ usage: { completion_tokens_details: { reasoning_tokens: 1 } } });
    await hold("POST /v1/chat/completions", api.chat({ temperature: 9 }));
    await hold("POST /v1/completions", send("POST", "/v1/completions", { model: "fake", prompt: "Say", echo: true }));
    await hold("POST /v1/completions", send("POST", "/v1/completions", { model: "fake", prompt: [1] }));
    await hold("POST /v1/embeddings", send("POST", "/v1/embeddings", { model: "fake", input: "Say" }));
    await hold("POST /v1/rerank", send("POST", "/v1/rerank", { model: "fake", query: "Say" }));
    const asked = { model: "fake", input: "Say it." };
    await hold("POST /v1/responses", send("POST", "/v1/responses", asked));
    await hold("POST /v1/responses", send("POST", "/v1/responses", { ...asked, tools: [{}] }));
    await hold("GET /v1/models", send("GET", "/v1/models"));
    await hold("GET /health", send("GET", "/health"));
    await hold("GET /v1/usage", send("GET", "/v1/usage"));
    for (const group of ["day", "user", "status"]) await hold("GET /v1/usage", send("GET", `/v1/usage?group=${group}`));
    await hold("GET /v1/usage", send("GET", "/v1/usage?group=nonsense"));
    await hold("GET /v1/usage/export", send("GET", "/v1/usage/export?format=json"));
  });

  it("for every chunk of a stream, the cut one's error too", async () => {
    const description = await read();
    const chunk = validator(description, { $ref: "#/components/schemas/ChatCompletionChunk" });
    const text = await (await api.chat({ stream: true, stream_options: { include_usage: true } })).text();
    const chunks = [...text.matchAll(/^data: (\{.*\})$/gm)].map((match) => JSON.parse(match[1]!));
    expect(chunks.length).toBeGreaterThan(5);
    for (const one of chunks) expect(chunk.safeParse(one).error?.issues ?? [], JSON.stringify(one)).toEqual([]);
  });

  it("for keys", async () => {
    const held = {
      models: ["fake"],
      limits: { requestsPerDay: 9 },
      userLimits: { tokensPerMinute: 9 },
      expiresAt: "2999-01-01",
    };
    const issued = (await hold("POST /v1/keys", send("POST", "/v1/keys", { name: "bot", ...held }))) as { id: string };
    await hold("GET /v1/keys", send("GET", "/v1/keys"));
    await hold("DELETE /v1/keys/{id}", send("DELETE", `/v1/keys/${issued.id}`));
    await hold("DELETE /v1/keys/{id}", send("DELETE", "/v1/keys/none"));
    await hold("POST /v1/keys", send("POST", "/v1/keys", {}));
  });

  it("for engines and running requests", async () => {
    const listening = await serveEngine(new FakeEngine({ models: [{ id: "m", loaded: true, contextLength: 9 }] }));
    await hold("POST /v1/engines", send("POST", "/v1/engines", { name: "attic", url: listening.url }));
    await hold("GET /v1/engines", send("GET", "/v1/engines"));
    await hold("PATCH /v1/engines/{name}", send("PATCH", "/v1/engines/attic", { draining: true }));
    await listening.close();
    await hold("GET /v1/engines", send("GET", "/v1/engines"));
    api.engine.script = () => [{ text: "one" }, { hold: "middle" }];
    const answer = await api.chat({ stream: true, user: "ann" });
    const reading = answer.text();
    await api.engine.reached("middle");
    const { requests } = (await hold("GET /v1/requests", send("GET", "/v1/requests"))) as {
      requests: { id: string }[];
    };
    await hold("DELETE /v1/requests/{id}", send("DELETE", `/v1/requests/${requests[0]!.id}`));
    await reading;
    await api.rows();
  });

  it("in every test, of whatever it is about", async () => {
    const keys = (body: object) => holdToDescription("GET", "/v1/keys", Response.json(body));
    expect(await keys({ keys: [] })).toBe("GET /v1/keys");
    await expect(keys({ keys: [], more: 1 })).rejects.toThrow(/otherwise than/);
    const teapot = Response.json({}, { status: 200, headers: { "content-type": "application/problem+json" } });
    await expect(holdToDescription("GET", "/v1/keys", teapot)).rejects.toThrow(/says nothing/);
    expect(await holdToDescription("GET", "/admin", Response.json({}))).toBeUndefined();
  });

  it("and would be found out if it were not", async () => {
    const description = await read();
    const list = validator(description, { $ref: "#/components/schemas/KeyList" });
    expect(list.safeParse({ keys: [] }).success).toBe(true);
    expect(list.safeParse({ keys: [{ id: "k", secret: "leaked" }] }).success).toBe(false);
    expect(list.safeParse({ keys: [], more: 1 }).success).toBe(false);
  });
});
