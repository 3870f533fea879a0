/** The admin page without a browser: who gets in, what a foreign page can do, and what the page sends. */
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openApi, type TestApi } from "../../../test/support/api.ts";
import { adminSessionMs, keyGuessesMax } from "../../core/limits.ts";

let api: TestApi;
let now: number;

beforeEach(async () => {
  now = Date.now();
  api = await openApi({ replace: { clock: { now: () => now } } });
});

afterEach(() => api.close());

const formHeaders = { "content-type": "application/x-www-form-urlencoded" };

function post(path: string, fields: Record<string, string> | string, headers: Record<string, string> = {}) {
  const body = typeof fields === "string" ? fields : new URLSearchParams(fields).toString();
  return api.app.request(path, { method: "POST", body, headers: { ...formHeaders, ...headers } });
}

const signIn = (key: string, headers: Record<string, string> = {}) => post("/admin/sign-in", { key }, headers);

function cookieOf(response: Response): string {
  return response.headers.getSetCookie()[0]!.split(";")[0]!;
}

/** Cookie and form token of somebody who signed in. */
async function session(key = api.admin.secret): Promise<{ cookie: string; "x-snug-form": string }> {
  const cookie = cookieOf(await signIn(key));
  const html = await (await get("/admin", { cookie })).text();
  return { cookie, "x-snug-form": /name="form" value="(\w+)"/.exec(html)![1]! };
}

const get = (path: string, headers: Record<string, string> = {}) => api.app.request(path, { headers });

describe("signing in", () => {
  it("gives a cookie that holds nothing of the key and that scripts and other sites cannot use", async () => {
    const response = await signIn(api.admin.secret);
    expect(response.status).toBe(303);
    const [cookie] = response.headers.getSetCookie();
    expect(cookie).toMatch(/; Path=\/admin; HttpOnly; SameSite=Strict$/);
    expect(cookie).toContain(`Max-Age=${adminSessionMs / 1000}`);
    expect(cookie).not.toContain(api.admin.secret.slice(8, 24));
    expect((await get("/admin", { cookie: cookieOf(response) })).status).toBe(200);
  });

  it("marks the cookie as secure behind https, here or at a proxy", async () => {
    const direct = await api.app.request("https://snug.example/admin/sign-in", {
      method: "POST",
      body: `key=${api.admin.secret}`,
      headers: formHeaders,
    });
    const proxied = await signIn(api.admin.secret, { "x-forwarded-proto": "https" });
    for (const response of [direct, proxied]) expect(response.headers.getSetCookie()[0]).toContain("; Secure");
  });

  it("says why not, without a cookie", async () => {
    const chat = await api.makeKey(["chat", "usage"]);
    for (const [key, status, sentence] of [
      ["", 400, "Enter a key"],
      ["sk-snug-wrong", 401, "not accepted"],
      ["two words", 401, "not accepted"],
      [chat.secret, 403, "lacks the scope admin"],
    ] as const) {
      const response = await signIn(key);
      expect([response.status, response.headers.getSetCookie()]).toEqual([status, []]);
      expect(await response.text()).toContain(sentence);
    }
    const chinese = await signIn("wrong", { "accept-language": "zh-CN,zh;q=0.9,en;q=0.8" });
    expect(await chinese.text()).toContain("密钥无效");
  });

  it("is refused for a while after many wrong keys from one address, the right key too, and keys elsewhere count", async () => {
    const from = { "test-address": "203.0.113.9" };
    for (let i = 0; i < keyGuessesMax - 1; i++) expect((await signIn(`wrong-${i}`, from)).status).toBe(401);
    await api.app.request("/v1/models", { headers: { ...from, authorization: "Bearer wrong" } });
    const refused = await signIn(api.admin.secret, from);
    expect([refused.status, refused.headers.getSetCookie()]).toEqual([429, []]);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    expect((await signIn(api.admin.secret, { "test-address": "203.0.113.10" })).status).toBe(303);
  });

  it("leads back to where one wanted to go, and nowhere else", async () => {
    const where = async (back: string) =>
      (await post("/admin/sign-in", { key: api.admin.secret, back })).headers.get("location");
    expect(await where("/admin/usage?range=day")).toBe("/admin/usage?range=day");
    for (const back of ["https://evil.example", "//evil.example", "/administer", "/admin/../v1", "/admin\\evil", "x"]) {
      expect(await where(back)).toBe("/admin");
    }
  });
});

describe("a session", () => {
  const answers = async (headers: Record<string, string>) => (await get("/admin/keys", headers)).status;

  it("ends with its time, with its key, and by signing out", async () => {
    const first = await session();
    expect(await answers(first)).toBe(200);
    await post("/admin/sign-out", { form: first["x-snug-form"] }, first);
    expect(await answers(first)).toBe(401);

    const second = await api.makeKey(["admin"]);
    const ofSecond = await session(second.secret);
    await api.keyStore.revoke(second.id, now);
    expect(await answers(ofSecond)).toBe(401);

    const third = await session();
    now += adminSessionMs;
    expect(await answers(third)).toBe(401);
  });

  it("ends when its key expires", async () => {
    const brief = await api.makeKey(["admin"], { expiresAt: now + 1000 });
    const headers = await session(brief.secret);
    expect(await answers(headers)).toBe(200);
    now += 1000;
    expect(await answers(headers)).toBe(401);
  });

  it("is not made of what the database holds, nor of anything invented", async () => {
    await session();
    const hash = "a".repeat(64);
    for (const value of ["", "x", hash, `session-snug-${"a".repeat(43)}`, "%00", "a".repeat(5000)]) {
      expect(await answers({ cookie: `snug_admin=${value}` })).toBe(401);
    }
  });

  it("of a page that refreshes itself sends the whole page to sign in when it has ended", async () => {
    const response = await get("/admin/now/live", { "hx-request": "true" });
    expect([response.status, response.headers.get("hx-redirect")]).toEqual([401, "/admin"]);
  });
});

describe("changes", () => {
  const changes = [
    "/admin/keys",
    "/admin/keys/key-1/revoke",
    "/admin/engines",
    "/admin/engines/fake/drain",
    "/admin/engines/fake/resume",
    "/admin/engines/fake/weight",
    "/admin/engines/fake/remove",
    "/admin/requests/chatcmpl-1/cancel",
  ];

  it.each(changes)("%s needs the page's own token besides the cookie", async (path) => {
    const { cookie, "x-snug-form": token } = await session();
    const statusOf = async (headers: Record<string, string>) => (await post(path, {}, headers)).status;
    expect(await statusOf({})).toBe(401);
    expect(await statusOf({ cookie })).toBe(403);
    expect(await statusOf({ cookie, "x-snug-form": "0".repeat(32) })).toBe(403);
    expect(await statusOf({ cookie, "x-snug-form": token, "sec-fetch-site": "cross-site" })).toBe(403);
    expect((await api.app.request(path, { headers: { cookie } })).status).not.toBe(500);
  });

  it("are every POST there is", () => {
    const routes = api.app.routes.filter(({ method, path }) => method === "POST" && path.startsWith("/admin"));
    const known = [...changes, "/admin/sign-in", "/admin/sign-out"].map((path) =>
      path
        .replace(/\/(key-1|chatcmpl-1)\//, "/:id/")
        .replace(/engines\/fake\/\w+/, "engines/:name/:change{drain|resume|weight|remove}"),
    );
    expect([...new Set(routes.map(({ path }) => path))].sort()).toEqual([...new Set(known)].sort());
    expect(
      api.app.routes.filter(({ method, path }) => /PUT|PATCH|DELETE/.test(method) && path.startsWith("/admin")),
    ).toEqual([]);
  });

  it("make, show once and revoke a key, but not the one signed in with", async () => {
    const headers = await session();
    const fields = new URLSearchParams({ name: "lab", models: "a, b，c", "limits.requestsPerDay": "7", weight: "2" });
    for (const scope of ["chat", "usage"]) fields.append("scopes", scope);
    const made = await (await post("/admin/keys", fields.toString(), headers)).text();
    const secret = /value="(sk-snug-[\w-]+)"/.exec(made)![1]!;
    const key = (await api.keyStore.list()).find(({ name }) => name === "lab")!;
    expect(key).toMatchObject({
      scopes: ["chat", "usage"],
      models: ["a", "b", "c"],
      limits: { requestsPerDay: 7 },
      weight: 2,
    });
    expect(await (await get("/admin/keys", headers)).text()).not.toContain(secret);
    expect(await (await post(`/admin/keys/${key.id}/revoke`, {}, headers)).text()).toContain("refused from now on");
    expect((await api.keyStore.find(key.id))?.revokedAt).toBe(now);
    expect((await post("/admin/keys/none/revoke", {}, headers)).status).toBe(404);
    expect((await post(`/admin/keys/${api.admin.id}/revoke`, {}, headers)).status).toBe(400);
    expect((await api.keyStore.find(api.admin.id))?.revokedAt).toBeUndefined();
  });

  it.each([
    ["/admin/keys", { name: "", scopes: "chat" }, "name", "名称"],
    ["/admin/keys", { name: "x" }, "scopes", "权限"],
    ["/admin/keys", { name: "x", scopes: "root" }, "scopes.0", "权限"],
    ["/admin/keys", { name: "x", scopes: "chat", expiresAt: "soon" }, "expiresAt", "有效期"],
    ["/admin/keys", { name: "x", scopes: "chat", "limits.tokensPerDay": "0" }, "limits.tokensPerDay", "每天 token"],
    [
      "/admin/keys",
      { name: "x", scopes: "chat", "userLimits.tokensPerDay": "1.5" },
      "userLimits.tokensPerDay",
      "每天 token",
    ],
    ["/admin/keys", { name: "x", scopes: "chat", weight: "11" }, "weight", "份额"],
    ["/admin/engines", { name: "a b", url: "http://a" }, "name", "名称"],
    ["/admin/engines", { name: "a", url: "file:///etc/passwd" }, "url", "地址"],
    ["/admin/engines", { name: "a", url: "http://a", weight: "1000" }, "weight", "权重"],
    ["/admin/engines", { name: "a", url: "http://a", token: "with space" }, "token", "令牌"],
  ] as const)("%s says in the form what is wrong with %o", async (path, fields, param, chinese) => {
    const headers = await session();
    const said = await post(path, { ...fields }, { ...headers, "accept-language": "zh" });
    expect([said.status, JSON.parse(said.headers.get("hx-trigger")!)["snug-field"].name]).toEqual([400, param]);
    expect(said.headers.get("hx-retarget")).toMatch(/^#(key|engine)-form-error$/);
    expect(await said.text()).toContain(`“${chinese}”填写有误`);
    const english = await post(path, { ...fields }, headers);
    expect(await english.text()).toMatch(/^(?:name|scopes|expiresAt|url|weight|token|Tokens a day)\b.* .*\.$/);
  });

  it("register, weigh, drain and remove an engine, whose token is never shown", async () => {
    const headers = await session();
    const fields = { name: "attic", url: "http://127.0.0.1:9", token: "secret-token", weight: "2" };
    const shown = await (await post("/admin/engines", fields, headers)).text();
    expect(shown).toContain("attic is registered");
    expect(shown + (await (await get("/admin/engines", headers)).text())).not.toContain("secret-token");
    expect(await api.engineStore.list()).toMatchObject([{ name: "attic", token: "secret-token", weight: 2 }]);
    await post("/admin/engines/attic/weight", { weight: "0.5" }, headers);
    await post("/admin/engines/attic/drain", {}, headers);
    expect(await api.engineStore.list()).toMatchObject([{ weight: 0.5, draining: true }]);
    expect((await post("/admin/engines/attic/weight", { weight: "no" }, headers)).status).toBe(400);
    expect((await post("/admin/engines/fake/remove", {}, headers)).status).toBe(400);
    expect((await post("/admin/engines/none/drain", {}, headers)).status).toBe(404);
    await post("/admin/engines/attic/remove", {}, headers);
    expect(await api.engineStore.list()).toEqual([]);
  });

  it("refuse bodies that are no form or too large", async () => {
    const headers = await session();
    expect((await post("/admin/keys", "{}", { ...headers, "content-type": "application/json" })).status).toBe(400);
    expect((await post("/admin/keys", `name=${"x".repeat(70_000)}`, headers)).status).toBe(413);
  });
});

describe("the page", () => {
  const pages = ["/admin", "/admin/usage?range=month&by=user&show=tokens", "/admin/keys", "/admin/engines"];

  it.each(pages)("%s asks strangers to sign in, and to come back", async (path) => {
    const response = await get(path);
    const html = await response.text();
    expect([response.status, html.includes(`name="back" value="${path.replaceAll("&", "&amp;")}"`)]).toEqual([
      401,
      true,
    ]);
  });

  it.each(pages)("%s runs no script of its own text and stands in no frame", async (path) => {
    const response = await get(path, await session());
    const policy = response.headers.get("content-security-policy")!;
    expect(policy).toContain("script-src 'self'");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy).not.toContain("unsafe");
    expect(response.headers.get("x-frame-options")).toBe("DENY");
    expect(response.headers.get("cache-control")).toBe("no-store");
    expect(response.headers.get("access-control-allow-origin")).toBeNull();
    const html = await response.text();
    expect(html).not.toMatch(/<script(?![^>]* src=)|\son\w+=|\sstyle=|<style/);
    expect([...html.matchAll(/(?:src|href)="(https?:[^"]*)"/g)]).toEqual([]);
  });

  it("shows what people wrote as text", async () => {
    const headers = await session();
    const nasty = `<img src=x onerror=alert(1)>"'&`;
    await api.makeKey(["chat"], { name: nasty });
    await (await api.chat({ user: nasty })).text();
    await api.rows();
    for (const path of ["/admin/keys", "/admin/usage?by=user"]) {
      const html = await (await get(path, headers)).text();
      expect(html).toContain("&lt;img src=x");
      expect(html).not.toContain("<img");
    }
  });

  it("has less than 200 KB, all it loads included", async () => {
    const headers = await session();
    await (await api.chat({})).text();
    await api.rows();
    const html = await (await get("/admin/usage", headers)).text();
    const files = [...html.matchAll(/(?:src|href)="(\/admin\/static\/[^"]+)"/g)].map((match) => match[1]!);
    expect(files.map((file) => file.replace(/\?.*/, ""))).toEqual(
      ["uPlot.min.css", "admin.css", "htmx.min.js", "uPlot.iife.min.js", "admin.js"].map(
        (name) => `/admin/static/${name}`,
      ),
    );
    let bytes = gzipSync(html).length;
    for (const file of files) {
      const reply = await get(file, { "accept-encoding": "gzip" });
      expect([reply.status, reply.headers.get("content-encoding")]).toEqual([200, "gzip"]);
      bytes += (await reply.arrayBuffer()).byteLength;
      const etag = reply.headers.get("etag")!;
      expect((await get(file, { "if-none-match": etag })).status).toBe(304);
    }
    expect(bytes).toBeLessThan(200_000);
  });

  it("has no files but those", async () => {
    for (const name of ["none.js", "..%2f..%2fpackage.json", "constructor", "__proto__"]) {
      expect((await get(`/admin/static/${name}`)).status).toBe(404);
    }
  });

  it("exports the ledger to those who are signed in", async () => {
    await (await api.chat({ user: "ann" })).text();
    await api.rows();
    expect((await get("/admin/export?format=csv")).status).toBe(401);
    const csv = await (await get("/admin/export?format=csv", await session())).text();
    expect(csv.split("\r\n")[1]).toContain(",ann,");
  });

  it("refreshes itself without filling the log", async () => {
    const headers = await session();
    const lines = () => api.log.filter(({ level, message }) => level === "info" && message === "request").length;
    const before = lines();
    for (const path of ["/admin/now/live", "/admin/now/day"]) expect((await get(path, headers)).status).toBe(200);
    expect(lines()).toBe(before);
    await get("/admin/keys", headers);
    expect(lines()).toBe(before + 1);
  });

  it("shows the thumbs of chat by model", async () => {
    const vote = { source: "discord", userId: "u", at: now, model: "fake" } as const;
    await api.botState.recordFeedback({ ...vote, answerId: "a", vote: "up" });
    await api.botState.recordFeedback({ ...vote, answerId: "b", vote: "up" });
    await api.botState.recordFeedback({ ...vote, answerId: "c", vote: "down" });
    const html = await (await get("/admin/usage", await session())).text();
    const row = /<tr data-model="fake">.*?<\/tr>/s.exec(html)![0].replaceAll(/<[^>]+>/g, " ");
    expect(row.split(/\s+/).filter((word) => word !== "")).toEqual(["fake", "2", "1", "66.7%"]);
  });

  it("chooses its language by what the browser asks, and by the switch", async () => {
    const title = async (headers: Record<string, string>) =>
      /<h1>(.*?)<\/h1>/.exec(await (await get("/admin", headers)).text())![1];
    expect(await title({ "accept-language": "de, zh-TW;q=0.8, en;q=0.5" })).toBe("登录");
    expect(await title({ "accept-language": "de, en;q=0.8, zh;q=0.5" })).toBe("Sign in");
    expect(await title({})).toBe("Sign in");
    const switched = await get("/admin/language?to=zh&back=/admin/keys");
    expect([switched.status, switched.headers.get("location")]).toEqual([303, "/admin/keys"]);
    expect(await title({ cookie: cookieOf(switched) })).toBe("登录");
  });
});
