/** The admin page in real workerd on real D1: no memory between requests is needed to stay signed in. */
import { applyD1Migrations, reset } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { createKeyStore } from "../../../src/api/key-store.ts";
import { createD1Database } from "../../../src/entries/d1.ts";

beforeEach(async () => {
  await reset();
  await applyD1Migrations(env.DB, env.MIGRATIONS);
  vi.spyOn(console, "log").mockImplementation(() => {});
  vi.spyOn(globalThis, "fetch").mockImplementation(async () => Response.json({ state: "ready", slots: 2, data: [] }));
});

afterEach(() => {
  vi.restoreAllMocks();
});

const send = (path: string, init: RequestInit = {}) =>
  exports.default.fetch(`https://worker.test${path}`, { redirect: "manual", ...init });

const form = (fields: Record<string, string>, headers: Record<string, string> = {}): RequestInit => ({
  method: "POST",
  headers,
  body: new URLSearchParams(fields),
});

it("lets the administrator of the secret in, shows every section and makes a key", async () => {
  const wrong = await send("/admin/sign-in", form({ key: "wrong" }));
  expect([wrong.status, wrong.headers.get("set-cookie")]).toEqual([401, null]);
  const signedIn = await send("/admin/sign-in", form({ key: env.SNUG_ADMIN_KEY }));
  expect(signedIn.status).toBe(303);
  const set = signedIn.headers.get("set-cookie")!;
  expect(set).toMatch(/; HttpOnly; Secure; SameSite=Strict$/);
  const cookie = set.split(";")[0]!;

  for (const path of ["/admin", "/admin/usage", "/admin/keys", "/admin/engines", "/admin/now/live", "/admin/now/day"]) {
    const response = await send(path, { headers: { cookie } });
    expect([path, response.status]).toEqual([path, 200]);
    expect(await response.text()).not.toContain('name="key"');
  }

  const page = await (await send("/admin/keys", { headers: { cookie } })).text();
  const token = /name="form" value="(\w+)"/.exec(page)![1]!;
  const made = await send("/admin/keys", form({ name: "lab", scopes: "chat" }, { cookie, "x-snug-form": token }));
  expect(await made.text()).toMatch(/sk-snug-/);
  expect(await createKeyStore(createD1Database(env.DB)).list()).toMatchObject([{ name: "lab", scopes: ["chat"] }]);

  await send("/admin/sign-out", form({ form: token }, { cookie }));
  expect((await send("/admin", { headers: { cookie } })).status).toBe(401);
});
