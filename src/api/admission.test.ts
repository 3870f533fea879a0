import { afterEach, beforeEach, expect, it } from "vitest";
import { openApi, type TestApi } from "../../test/support/api.ts";

let api: TestApi;

beforeEach(async () => {
  api = await openApi();
});
afterEach(() => api.close());

async function termsWith(
  key: { weight?: number; priority?: "interactive" | "batch" },
  headers: Record<string, string>,
) {
  const { secret } = await api.makeKey(["chat"], key);
  const reply = await api.chat({}, { headers: { ...headers, authorization: `Bearer ${secret}` } });
  return { status: reply.status, terms: api.engine.requests.at(-1)?.terms, body: await reply.json() };
}

it("a request carries its key's id, weight and priority to the engine", async () => {
  const { terms } = await termsWith({ weight: 3, priority: "batch" }, {});
  expect(terms).toMatchObject({ keyId: expect.stringMatching(/^key-/), weight: 3, priority: "batch" });
});

it("nobody raises a share or an order by headers of the request", async () => {
  const forged = { "x-snug-key": "key-other", "x-snug-weight": "10", "x-snug-priority": "interactive" };
  const { terms } = await termsWith({ priority: "batch" }, forged);
  expect(terms?.keyId).not.toBe("key-other");
  expect(terms?.weight).toBeUndefined();
  expect(terms?.priority).toBe("batch");
});

it("everybody may let others go first", async () => {
  expect((await termsWith({}, {})).terms?.priority).toBe("interactive");
  expect((await termsWith({}, { "x-snug-priority": "batch" })).terms?.priority).toBe("batch");
});

it("a body that names its own terms is not listened to", async () => {
  await api.chat({ terms: { weight: 10, keyId: "key-other" } });
  expect(api.engine.requests.at(-1)?.terms).toEqual({ keyId: api.admin.id, priority: "interactive" });
});

it("deadlines come from the settings, and a caller's own count when they are sooner", async () => {
  api.close();
  api = await openApi({ replace: { deadlines: { firstTokenMsMax: 20_000, totalMsMax: 90_000 } } });
  const asked = { "x-snug-first-token-ms": "5000", "x-snug-total-ms": "600000" };
  expect((await termsWith({}, asked)).terms).toMatchObject({ firstTokenMsMax: 5000, totalMsMax: 90_000 });
});

it("a wrong deadline is refused by the header's name, before anything is written down", async () => {
  const { status, body } = await termsWith({}, { "x-snug-total-ms": "soon" });
  expect(status).toBe(400);
  expect(body).toMatchObject({ error: { code: "invalid_request", param: "x-snug-total-ms" } });
  expect(await api.rows()).toEqual([]);
});

it("past its deadline an answer ends with engine_timeout, and its row says so with what was produced", async () => {
  api.engine.script = () => [{ text: "one" }, { hold: "never" }];
  const headers = { "x-snug-total-ms": "1500" };
  const reply = await api.chat({ stream: true }, { headers });
  const text = await reply.text();
  expect(text).toContain("engine_timeout");
  expect(text).not.toContain("[DONE]");
  const [row] = await api.rows();
  expect(row).toMatchObject({ errorCode: "engine_timeout", aborted: false, usage: { completionTokens: 1 } });
});

it("keys are made with a share and an order, within bounds", async () => {
  const make = (more: object) =>
    api.request("/v1/keys", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ name: "bot", ...more }),
    });
  const made = await make({ weight: 0.5, priority: "batch" });
  expect(await made.json()).toMatchObject({ weight: 0.5, priority: "batch" });
  const { keys } = (await (await api.request("/v1/keys")).json()) as { keys: { name: string; weight?: number }[] };
  expect(keys.find(({ name }) => name === "bot")?.weight).toBe(0.5);
  for (const wrong of [{ weight: 0 }, { weight: 11 }, { weight: "2" }, { priority: "urgent" }]) {
    const refused = await make(wrong);
    expect(refused.status, JSON.stringify(wrong)).toBe(400);
    expect(await refused.json()).toMatchObject({ param: Object.keys(wrong)[0] });
  }
});
