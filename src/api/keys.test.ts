import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openApi, type TestApi } from "../../test/support/api.ts";

let api: TestApi;

beforeEach(async () => {
  api = await openApi();
});

afterEach(() => api.close());

interface Issued {
  id: string;
  secret: string;
  state: string;
}

const json = { "content-type": "application/json" };
const create = (body: unknown, init: RequestInit = {}) =>
  api.request("/v1/keys", {
    method: "POST",
    body: JSON.stringify(body),
    ...init,
    headers: { ...json, ...init.headers },
  });
const issue = async (body: unknown): Promise<Issued> => (await create(body)).json() as Promise<Issued>;
const bearer = (secret: string) => ({ authorization: `Bearer ${secret}` });
const chatStatus = async (secret: string, body: object = {}) =>
  (await api.chat(body, { headers: bearer(secret) })).status;

describe("POST /v1/keys", () => {
  it("makes a key that works, and shows its secret this once", async () => {
    const response = await create({
      name: "bot",
      scopes: ["chat"],
      models: ["fake"],
      userLimits: { requestsPerDay: 5 },
    });
    expect(response.status).toBe(201);
    expect(response.headers.get("cache-control")).toBe("no-store");
    const key = (await response.json()) as Issued;
    expect(key).toMatchObject({ name: "bot", scopes: ["chat"], models: ["fake"], state: "active" });
    expect(await chatStatus(key.secret)).toBe(200);
    const list = await (await api.request("/v1/keys")).text();
    expect(list).toContain(key.id);
    expect(list).not.toContain(key.secret);
    expect(list).not.toContain("hash");
  });

  it("gives a key that names no scopes all but admin", async () => {
    const { secret } = await issue({ name: "plain" });
    expect((await api.request("/v1/usage", { headers: bearer(secret) })).status).toBe(200);
    expect((await api.request("/v1/keys", { headers: bearer(secret) })).status).toBe(403);
  });

  it.each([
    ["nothing but a list", [], undefined],
    ["no name", {}, "name"],
    ["an empty name", { name: " " }, "name"],
    ["a long name", { name: "x".repeat(101) }, "name"],
    ["an unknown scope", { name: "n", scopes: ["root"] }, "scopes.0"],
    ["no scope at all", { name: "n", scopes: [] }, "scopes"],
    ["no model at all", { name: "n", models: [] }, "models"],
    ["a model that is no text", { name: "n", models: [7] }, "models.0"],
    ["an expiry that is no time", { name: "n", expiresAt: "soon" }, "expiresAt"],
    ["an expiry in the past", { name: "n", expiresAt: "2020-01-01" }, "expiresAt"],
    ["a limit of nothing", { name: "n", limits: { requestsPerDay: 0 } }, "limits.requestsPerDay"],
    ["a broken number", { name: "n", limits: { tokensPerMinute: 1.5 } }, "limits.tokensPerMinute"],
    ["a misspelt limit", { name: "n", limits: { tokensPerHour: 5 } }, "limits.tokensPerHour"],
    ["a misspelt member", { name: "n", scope: ["chat"] }, "scope"],
  ])("refuses %s and says where", async (_name, body, param) => {
    const response = await create(body);
    expect(response.status).toBe(400);
    const problem = (await response.json()) as { type: string; detail: string; param?: string };
    expect(problem.type).toBe("urn:snug:error:invalid_request");
    expect(problem.param).toBe(param);
    expect(problem.detail).toMatch(/^[^\n]{10,200}\.$/);
    expect(await api.keyStore.count()).toBe(1);
  });
});

describe("a key", () => {
  it("that is revoked is refused from then on, and keeps the time it was revoked", async () => {
    const { id, secret } = await issue({ name: "gone" });
    expect(await chatStatus(secret)).toBe(200);
    const first = await (await api.request(`/v1/keys/${id}`, { method: "DELETE" })).json();
    expect(first).toMatchObject({ state: "revoked", revokedAt: expect.any(String) });
    expect(await chatStatus(secret)).toBe(401);
    expect(await (await api.request(`/v1/keys/${id}`, { method: "DELETE" })).json()).toEqual(first);
  });

  it("that is not there cannot be revoked, and none revokes itself", async () => {
    expect((await api.request("/v1/keys/key-none", { method: "DELETE" })).status).toBe(404);
    expect((await api.request(`/v1/keys/${api.admin.id}`, { method: "DELETE" })).status).toBe(400);
    expect((await api.request("/v1/keys")).status).toBe(200);
  });

  it("is refused once it has expired", async () => {
    const { secret } = await api.makeKey(["chat"], { expiresAt: Date.now() - 1 });
    expect(await chatStatus(secret)).toBe(401);
  });

  it("that is held to models sees and asks only those", async () => {
    const { secret } = await api.makeKey(["chat"], { models: ["other"] });
    const refused = await api.chat({}, { headers: bearer(secret) });
    expect(refused.status).toBe(403);
    expect(await refused.json()).toMatchObject({ error: { code: "permission_denied", param: "model" } });
    const models = await (await api.request("/v1/models", { headers: bearer(secret) })).json();
    expect(models).toMatchObject({ data: [] });
    expect(await api.rows()).toEqual([]);
  });

  it.each(["/v1/keys", "/v1/engines", "/v1/requests", "/metrics"])("without admin does not see %s", async (path) => {
    const { secret } = await api.makeKey(["chat", "fits", "usage"]);
    expect((await api.request(path, { headers: bearer(secret) })).status).toBe(403);
  });
});

describe("the end user behind a key", () => {
  it("travels in the header of a bot, before the user field", async () => {
    await api.chat({ user: "field" }, { headers: { "x-snug-user": "discord:42" } });
    await api.chat({ user: "field" });
    expect((await api.rows()).map((row) => row.userId).sort()).toEqual(["discord:42", "field"]);
    expect(api.engine.requests.map((request) => request.userId)).toEqual(["discord:42", "field"]);
  });

  it("has a bounded name", async () => {
    expect((await api.chat({}, { headers: { "x-snug-user": "x".repeat(257) } })).status).toBe(400);
  });
});

describe("guessing of keys", () => {
  const guess = (address: string) =>
    api.app.request("/v1/models", { headers: { authorization: "Bearer sk-snug-guess", "test-address": address } });

  it("is slowed down by address, whatever the next guess is", async () => {
    const statuses: number[] = [];
    for (let i = 0; i < 25; i++) statuses.push((await guess("192.0.2.1")).status);
    expect(statuses.slice(0, 20)).toEqual(Array(20).fill(401));
    expect(statuses.slice(20)).toEqual(Array(5).fill(429));
    const blocked = await guess("192.0.2.1");
    expect(Number(blocked.headers.get("retry-after"))).toBeGreaterThan(0);
    const right = await api.request("/v1/models", { headers: { "test-address": "192.0.2.1" } });
    expect(right.status).toBe(429);
    expect((await api.request("/v1/models", { headers: { "test-address": "192.0.2.2" } })).status).toBe(200);
    expect(await api.rows()).toEqual([]);
  });

  it("is not what a client with its key does, however often", async () => {
    for (let i = 0; i < 40; i++) {
      expect((await api.request("/v1/models", { headers: { "test-address": "192.0.2.3" } })).status).toBe(200);
    }
  });

  it("does not stop fit questions, which have a bound of their own that a key lifts", async () => {
    const ask = (headers: Record<string, string>) => api.app.request("/v1/fits?q=osmium", { headers });
    const stranger = { "test-address": "192.0.2.4" };
    for (let i = 0; i < 60; i++) expect((await ask(stranger)).status).toBe(400);
    expect((await ask(stranger)).status).toBe(429);
    const { secret } = await api.makeKey(["fits"]);
    expect((await ask({ ...stranger, ...bearer(secret) })).status).toBe(400);
  });
});
