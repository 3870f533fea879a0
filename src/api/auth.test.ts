import { createHash, randomBytes } from "node:crypto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openApi, type TestApi } from "../../test/support/api.ts";
import { createKey, createSecret, ensureAdminKey, hashSecret, withAdminSecret } from "./auth.ts";

const making = { clock: { now: () => 7 }, randomBytes };

let api: TestApi;

beforeEach(async () => {
  api = await openApi();
});

afterEach(() => api.close());

const withKey = (secret: string) => ({ headers: { authorization: `Bearer ${secret}` } });

describe("a secret", () => {
  it("has 256 bits in a recognizable form, and no two are alike", () => {
    const secrets = Array.from({ length: 100 }, () => createSecret(randomBytes));
    expect(new Set(secrets).size).toBe(100);
    for (const secret of secrets) expect(secret).toMatch(/^sk-snug-[\w-]{43}$/);
  });

  it("is stored as its SHA-256 alone", async () => {
    const secret = createSecret(randomBytes);
    const key = await createKey(secret, { name: "n", scopes: ["chat"], createdAt: 1 });
    expect(key.hash).toBe(createHash("sha256").update(secret).digest("hex"));
    expect(key.hash.startsWith(key.fingerprint)).toBe(true);
    expect(JSON.stringify(key)).not.toContain(secret.slice(8));
  });
});

describe("the first admin key", () => {
  it("is made and told once when there is none", async () => {
    const empty = await openApi();
    const store = { ...empty.keyStore, count: async () => 0 };
    const secret = await ensureAdminKey(store, undefined, making);
    expect(secret).toMatch(/^sk-snug-/);
    expect((await empty.request("/v1/usage", withKey(secret!))).status).toBe(200);
    expect(await ensureAdminKey(empty.keyStore, undefined, making)).toBeUndefined();
    empty.close();
  });

  it("that is configured is taken, at a later start too, and never told", async () => {
    const configured = "an-admin-key-of-one's-own";
    expect(await ensureAdminKey(api.keyStore, configured, making)).toBeUndefined();
    expect(await ensureAdminKey(api.keyStore, configured, making)).toBeUndefined();
    expect(await api.keyStore.count()).toBe(2);
    expect((await api.request("/v1/usage", withKey(configured))).status).toBe(200);
  });

  it.each(["short", "with a space in it, long enough", "x".repeat(500)])("is refused as %j", async (configured) => {
    await expect(ensureAdminKey(api.keyStore, configured, making)).rejects.toMatchObject({
      code: "invalid_configuration",
    });
  });

  it("can live in the settings alone, beside the stored ones", async () => {
    const configured = "an-admin-key-of-one's-own";
    const store = withAdminSecret(api.keyStore, configured);
    expect(await store.findByHash(await hashSecret(configured))).toMatchObject({ scopes: ["admin"] });
    expect(await store.findByHash(await hashSecret(api.admin.secret))).toMatchObject({ id: api.admin.id });
    expect(await store.findByHash(await hashSecret("something-else-entirely"))).toBeUndefined();
    expect(await api.keyStore.count()).toBe(1);
  });
});

describe("a scope", () => {
  it("opens its routes and no others", async () => {
    const chat = withKey((await api.makeKey(["chat"])).secret);
    const usage = withKey((await api.makeKey(["usage"])).secret);
    expect((await api.request("/v1/models", chat)).status).toBe(200);
    expect((await api.request("/v1/usage", usage)).status).toBe(200);
    const refused = [await api.request("/v1/usage", chat), await api.request("/v1/models", usage)];
    expect(refused.map((response) => response.status)).toEqual([403, 403]);
    expect(await refused[0]!.json()).toMatchObject({ title: "permission denied", status: 403 });
    expect(await refused[1]!.json()).toMatchObject({ error: { code: "permission_denied", type: "permission_error" } });
  });
});
