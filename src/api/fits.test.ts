import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openApi, type TestApi } from "../../test/support/api.ts";
import { fitsAnswerSchema } from "../fit/door-answer-schema.ts";
import { fitsReplySchema } from "../fit/door-schema.ts";
import { negotiateFormat, negotiateLocale } from "./fits-format.ts";

let api: TestApi;
beforeAll(async () => {
  api = await openApi();
});
afterAll(() => api.close());

/** Without a key, as a stranger asks. */
function get(path: string, parameters: Record<string, string> = {}, headers: Record<string, string> = {}) {
  return Promise.resolve(api.app.request(`${path}?${new URLSearchParams(parameters)}`, { headers }));
}

const ask = (q: string, more: Record<string, string> = {}, headers: Record<string, string> = {}) =>
  get("/v1/fits", { q, ...more }, headers);

async function answerOf(response: Response) {
  expect(response.status).toBe(200);
  const body = await response.json();
  expect(fitsAnswerSchema.safeParse(body).error?.issues ?? []).toEqual([]);
  return fitsAnswerSchema.parse(body);
}

describe("GET /v1/fits", () => {
  it.each([
    ["13b 6gb", "partial"],
    ["qwen3-8b q4_k_m 12gb ctx 16k", "full"],
    ["6gb", "models"],
    ["70b", "machines"],
    ["32b 2x16gb", "full"],
    ["qwen3-30b-a3b 8gb + 32gb ram", "partial"],
    ["10b nf4 8gb", "none"],
    ["qwen2.5-32b awq vllm 2x24gb", "full"],
    ["3060笔记本能跑什么", "models"],
    ["what is nf4", "term"],
    ["llama 3.1 405b 8gb + 16gb ram", "none"],
  ])("answers %s in full, with the verdict %s", async (query, code) => {
    const response = await ask(query);
    expect(response.headers.get("content-type")).toMatch(/^application\/json/);
    const answer = await answerOf(response);
    expect(answer.verdict.code).toBe(code);
    expect(answer.query.text).toBe(query);
    const part =
      code === "none"
        ? answer.refusal
        : code === "models"
          ? answer.models[0]
          : code === "machines"
            ? answer.machines[0]
            : code === "term"
              ? answer.terms[0]
              : answer.plan;
    expect(part).toBeDefined();
  });

  it("gives nothing in its JSON that its schema does not tell", async () => {
    for (const query of ["13b 6gb", "6gb", "70b", "10b nf4 8gb", "what is nf4"]) {
      const body = await (await ask(query)).json();
      expect(fitsAnswerSchema.parse(body)).toEqual(body);
    }
  });

  it.each([
    ["text", /^text\/plain/, /^Partly: /],
    ["terminal", /^text\/plain/, new RegExp(`^${String.fromCharCode(27)}\\[1;`)],
    ["markdown", /^text\/markdown/, /^## Partly: .*<details>/s],
    ["svg", /^image\/svg\+xml/, /^<svg .*<\/svg>$/s],
    ["json", /^application\/json/, /^\{"query"/],
  ])("writes %s", async (format, type, body) => {
    const response = await ask("13b 6gb", { format });
    expect(response.headers.get("content-type")).toMatch(type);
    expect(await response.text()).toMatch(body);
  });

  it("answers in the language asked for, typed or liked", async () => {
    const language = async (...input: Parameters<typeof ask>) => {
      const response = await ask(...input);
      const text = await response.text();
      expect(response.headers.get("content-language")).toBe(/^[^ ]*部分可以/.test(text) ? "zh" : "en");
      return response.headers.get("content-language");
    };
    expect(await language("13b 6gb", { format: "text" })).toBe("en");
    expect(await language("13b 6gb", { format: "text", lang: "zh" })).toBe("zh");
    expect(await language("13B 6G显存", { format: "text" })).toBe("zh");
    expect(await language("13B 6G显存", { format: "text", lang: "en" })).toBe("en");
    expect(await language("13b 6gb", { format: "text" }, { "accept-language": "zh-CN,zh;q=0.9,en;q=0.8" })).toBe("zh");
  });

  it("keeps lines of text within the columns asked for", async () => {
    const text = await (await ask("13b 6gb", { format: "text", columns: "50" })).text();
    const sections = text.split("\n\n").slice(0, 2).join("\n");
    expect(Math.max(...sections.split("\n").map((line) => line.length))).toBeLessThanOrEqual(50);
  });

  it("is drawn for a page's picture", async () => {
    const accept = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8";
    const response = await ask("13b 6gb", {}, { accept });
    expect(response.headers.get("content-type")).toBe("image/svg+xml");
    expect(response.headers.get("content-security-policy")).toContain("style-src 'unsafe-inline'");
    expect((await ask("13b 6gb", { format: "svg", theme: "dark" })).headers.get("etag")).not.toBe(
      response.headers.get("etag"),
    );
  });

  it("may be asked by any page, with or without a key, and without an engine", async () => {
    api.engine.state = "failed";
    const response = await ask("6gb", {}, { origin: "https://example.org" });
    expect(response.headers.get("access-control-allow-origin")).toBe("*");
    expect(response.headers.get("access-control-expose-headers")).toMatch(/\betag\b/);
    await answerOf(response);
    api.engine.state = "ready";
  });

  it("is answered 304 while it would be the same, whatever a proxy made of its tag", async () => {
    const first = await ask("13b 6gb");
    const etag = first.headers.get("etag")!;
    expect(etag).toMatch(/^"[0-9a-f]{24}"$/);
    expect(first.headers.get("cache-control")).toBe("public, max-age=3600");
    expect(first.headers.get("vary")).toContain("Accept-Language");
    for (const known of [etag, `W/${etag}`, `"x", ${etag}`, "*"]) {
      const again = await ask("13b 6gb", {}, { "if-none-match": known });
      expect([again.status, await again.text(), again.headers.get("etag")]).toEqual([304, "", etag]);
    }
    const others = [
      await ask("14b 6gb"),
      await ask("13b 6gb", { format: "markdown" }),
      await ask("13b 6gb", { lang: "zh" }),
    ];
    for (const other of others) expect(other.headers.get("etag")).not.toBe(etag);
    expect((await ask("14b 6gb", {}, { "if-none-match": etag })).status).toBe(200);
  });

  it.each([
    ["nothing", {}, "examples"],
    ["a word nobody knows", { q: "osmium" }, "examples"],
    ["a misspelling", { q: "qwem3 8b 6gb" }, "suggestions"],
  ])("asked %s, it tells what could be asked", async (_, parameters, key) => {
    const response = await get("/v1/fits", parameters);
    expect([response.status, response.headers.get("content-type")]).toEqual([400, "application/problem+json"]);
    expect(response.headers.get("etag")).toBeNull();
    expect(JSON.stringify(await response.json())).toContain(`"${key}"`);
  });

  it.each([
    ["format", { format: "pdf" }],
    ["lang", { lang: "fr" }],
    ["columns", { columns: "9" }],
    ["theme", { theme: "neon" }],
    ["format", { q: "what is nf4", format: "svg" }],
  ])("refuses a wrong %s by its name", async (param, parameters) => {
    const response = await ask("13b 6gb", parameters);
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ type: expect.stringContaining("invalid"), param });
  });

  it("reads no file but the hub's", async () => {
    for (const query of ["/etc/passwd.gguf 8gb", "http://127.0.0.1:1/a.gguf 8gb"]) {
      const response = await ask(query);
      expect(response.status).toBeGreaterThanOrEqual(400);
      expect(response.status).toBeLessThan(500);
    }
  });
});

describe("POST /v1/fits", () => {
  const post = (body: unknown) =>
    api.app.request("/v1/fits", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });

  it.each([
    ["a question", { id: 1, query: "13b 6gb" }, "plan"],
    ["a question without a model", { id: 2, query: "6gb" }, "answer"],
    ["a model and a machine", { id: 3, model: "Qwen3 8B", hardware: "8gb" }, "plan"],
    [
      "a format of vLLM",
      { id: 4, model: "Qwen2.5 32B", framework: "vllm", quantization: "awq", hardware: "2x3090" },
      "plan",
    ],
    ["what fits nowhere", { id: 5, model: "Llama 3.1 405B", hardware: "8gb + 16gb ram" }, "refusal"],
  ])("answers %s as the batch does", async (_, body, member) => {
    const response = await post(body);
    expect(response.status).toBe(200);
    const reply = await response.json();
    expect(fitsReplySchema.safeParse(reply).error?.issues ?? []).toEqual([]);
    expect(reply).toMatchObject({ id: body.id, [member]: expect.any(Object) });
  });

  it("names the field at fault", async () => {
    const response = await post({ model: "Qwen3 8B", hardware: "8gb", settings: { contextLength: 0 } });
    expect([response.status, response.headers.get("content-type")]).toEqual([400, "application/problem+json"]);
    expect(await response.json()).toMatchObject({
      type: expect.stringContaining("invalid"),
      param: "settings.contextLength",
    });
  });
});

describe("the tables", () => {
  const table = async (path: string, parameters: Record<string, string> = {}) => {
    const response = await get(path, parameters);
    expect(response.status).toBe(200);
    const body = (await response.json()) as { count: number; data: Record<string, unknown>[] };
    expect(body.count).toBe(body.data.length);
    return body.data;
  };

  it("list the catalogue, each model with its source", async () => {
    const models = await table("/v1/models/catalogue");
    expect(models.length).toBeGreaterThanOrEqual(150);
    expect(models.every(({ name, source, parameterCount }) => name && source && Number(parameterCount) > 0)).toBe(true);
    expect(models.some((model) => "shape" in model)).toBe(false);
  });

  it.each<[Record<string, string>, (model: Record<string, unknown>) => boolean]>([
    [
      { q: "qwen3" },
      ({ name, aliases, family, repository }) => /qwen-?3/i.test(`${name} ${aliases} ${family} ${repository}`),
    ],
    [{ family: "Gemma 3" }, ({ family }) => /^gemma-?3$/i.test(String(family))],
    [{ use: "code" }, ({ uses }) => (uses as string[]).includes("code")],
    [
      { parameterCountMin: "7b", parameterCountMax: "9e9" },
      ({ parameterCount }) => Number(parameterCount) >= 7e9 && Number(parameterCount) <= 9e9,
    ],
    [{ releasedSince: "2026" }, ({ release }) => String(release) >= "2026"],
    [{ limit: "3" }, () => true],
  ])("filter the catalogue by %o", async (filter, holds) => {
    const all = await table("/v1/models/catalogue");
    const some = await table("/v1/models/catalogue", filter);
    expect(some.length).toBeGreaterThan(0);
    expect(some.length).toBeLessThan(all.length);
    expect(some.filter((model) => !holds(model))).toEqual([]);
  });

  it("list the cards, filtered", async () => {
    const all = await table("/v1/gpus");
    expect(all.length).toBeGreaterThanOrEqual(150);
    const laptops = await table("/v1/gpus", { laptop: "true", vendor: "NVIDIA", vramBytesMin: "12 GiB" });
    expect(laptops.length).toBeGreaterThan(0);
    expect(laptops.every(({ laptop, vendor }) => laptop === true && vendor === "nvidia")).toBe(true);
    expect((await table("/v1/gpus", { q: "3060" })).length).toBeGreaterThan(0);
  });

  it("carry a tag and are not sent twice", async () => {
    for (const path of ["/v1/models/catalogue", "/v1/gpus"]) {
      const first = await get(path, { limit: "2", q: "3" });
      const etag = first.headers.get("etag")!;
      expect((await get(path, { q: "3", limit: "2" }, { "if-none-match": etag })).status).toBe(304);
      expect((await get(path, { q: "4", limit: "2" })).headers.get("etag")).not.toBe(etag);
    }
  });

  it.each([
    ["/v1/models/catalogue", { famly: "x" }, "famly"],
    ["/v1/models/catalogue", { parameterCountMin: "many" }, "parameterCountMin"],
    ["/v1/models/catalogue", { releasedSince: "May" }, "releasedSince"],
    ["/v1/gpus", { limit: "0" }, "limit"],
    ["/v1/gpus", { laptop: "maybe" }, "laptop"],
  ])("refuse a wrong filter of %s by its name", async (path, filter, param) => {
    const response = await get(path, filter as unknown as Record<string, string>);
    expect([response.status, response.headers.get("content-type")]).toEqual([400, "application/problem+json"]);
    expect(await response.json()).toMatchObject({ type: expect.stringContaining("invalid"), param });
  });
});

describe("what a client likes", () => {
  it.each([
    [undefined, "json"],
    ["*/*", "json"],
    ["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "json"],
    ["text/markdown, text/plain;q=0.9", "markdown"],
    ["text/markdown;q=0.5, text/plain;q=0.9", "text"],
    ["application/json;q=0, text/*", "text"],
    ["image/svg+xml", "svg"],
    ["application/pdf", "json"],
    [";;,q=;q=x", "json"],
  ])("of forms, by %s, is %s", (accept, format) => {
    expect(negotiateFormat(accept)).toBe(format);
  });

  it.each([
    [undefined, "en"],
    ["zh-TW", "zh"],
    ["fr, zh;q=0.8, en;q=0.5", "zh"],
    ["en, zh;q=0.8", "en"],
    ["de", "en"],
  ])("of languages, by %s, is %s", (header, locale) => {
    expect(negotiateLocale(header)).toBe(locale);
  });
});
