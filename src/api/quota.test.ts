import { describe, expect, it } from "vitest";
import { openApi } from "../../test/support/api.ts";
import { sayWords } from "../../test/support/fake-engine.ts";
import type { ApiKey, Consumption, ConsumptionQuery, QuotaLimits } from "../core/ports.ts";
import { createQuotaBook, QuotaRefusal, renderDuration } from "./quota.ts";

const minuteMs = 60_000;
const dayMs = 86_400_000;
const start = Date.UTC(2026, 0, 5, 12);

function openBook(past: (query: ConsumptionQuery) => [number, Consumption][] = () => [], recountMs?: number) {
  let now = start;
  let counted = 0;
  const book = createQuotaBook({
    clock: { now: () => now },
    usageStore: {
      consumption: async (query) => {
        counted++;
        return new Map(past(query));
      },
    },
    ...(recountMs === undefined ? {} : { recountMs }),
  });
  return {
    book,
    counted: () => counted,
    wait: (ms: number) => {
      now += ms;
    },
    admit: (limits: QuotaLimits, promptTokens = 0) => book.admit(keyWith({ limits }), undefined, promptTokens),
  };
}

function keyWith(limits: Pick<ApiKey, "limits" | "userLimits">): ApiKey {
  return { id: "k", name: "k", scopes: ["chat"], fingerprint: "f", createdAt: 0, ...limits };
}

async function refusal(admitting: Promise<unknown>): Promise<QuotaRefusal> {
  const thrown = await admitting.then(
    () => undefined,
    (error) => error,
  );
  expect(thrown).toBeInstanceOf(QuotaRefusal);
  return thrown as QuotaRefusal;
}

describe("requests per minute", () => {
  it("are refused beyond the limit until the minute ends, with the time to wait", async () => {
    const { admit, wait } = openBook();
    const limits = { requestsPerMinute: 2 };
    expect((await admit(limits)).headers).toEqual({
      "x-ratelimit-limit-requests": "2",
      "x-ratelimit-remaining-requests": "1",
      "x-ratelimit-reset-requests": "1m0s",
    });
    await admit(limits);
    wait(15_000);
    const error = await refusal(admit(limits));
    expect(error).toMatchObject({ code: "rate_limit_exceeded", retryAfterMs: 45_000 });
    expect(error.headers).toMatchObject({ "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "45s" });
    wait(45_000);
    await admit(limits);
  });

  it("at once are let in exactly as many as the limit says, also when the ledger is still being counted", async () => {
    const { admit } = openBook();
    const all = await Promise.allSettled(Array.from({ length: 50 }, () => admit({ requestsPerMinute: 7 })));
    expect(all.filter((one) => one.status === "fulfilled")).toHaveLength(7);
  });
});

describe("requests per day", () => {
  it("are a quota: refused with another code, and no matter of trying again", async () => {
    const { admit, wait } = openBook();
    await admit({ requestsPerDay: 1 });
    const error = await refusal(admit({ requestsPerDay: 1 }));
    expect(error).toMatchObject({ code: "quota_exceeded", retryAfterMs: dayMs / 2 });
    wait(dayMs / 2);
    await admit({ requestsPerDay: 1 });
  });
});

describe("tokens", () => {
  it("count when the answer ends; what runs is never cut, and what goes over is carried into later minutes", async () => {
    const { admit, wait } = openBook();
    const limits = { tokensPerMinute: 100 };
    (await admit(limits)).settle(350);
    expect(await refusal(admit(limits))).toMatchObject({ code: "rate_limit_exceeded", retryAfterMs: 3 * minuteMs });
    wait(3 * minuteMs - 1);
    await refusal(admit(limits));
    wait(1);
    expect((await admit(limits)).headers["x-ratelimit-remaining-tokens"]).toBe("50");
  });

  it("of running prompts are held, so that many at once cannot slip in together", async () => {
    const { admit } = openBook();
    const limits = { tokensPerMinute: 100 };
    const all = await Promise.allSettled(Array.from({ length: 20 }, () => admit(limits, 40)));
    expect(all.filter((one) => one.status === "fulfilled")).toHaveLength(3);
  });

  it("are given back when an answer took fewer than held, and counted once however often it is settled", async () => {
    const { admit } = openBook();
    const limits = { tokensPerMinute: 100 };
    const admission = await admit(limits, 90);
    admission.settle(10);
    admission.settle(10);
    expect((await admit(limits)).headers["x-ratelimit-remaining-tokens"]).toBe("90");
  });

  it("of an answer over midnight count for the day it ended in", async () => {
    const { admit, wait } = openBook();
    const limits = { tokensPerDay: 100 };
    const admission = await admit(limits);
    wait(dayMs / 2 + 1000);
    admission.settle(60);
    expect((await admit(limits)).headers["x-ratelimit-remaining-tokens"]).toBe("40");
  });
});

describe("concurrent requests", () => {
  it("are as many as the limit says, and room is made by each that ends", async () => {
    const { admit } = openBook();
    const limits = { concurrentRequests: 2 };
    const first = await admit(limits);
    await admit(limits);
    expect(await refusal(admit(limits))).toMatchObject({ code: "rate_limit_exceeded", retryAfterMs: 1000 });
    first.settle(0);
    await admit(limits);
  });
});

describe("end users behind a key", () => {
  it("each have their own, beside the key's, and those without a name share one", async () => {
    const { book } = openBook();
    const key = keyWith({ limits: { requestsPerDay: 4 }, userLimits: { requestsPerMinute: 1 } });
    await book.admit(key, "ann", 0);
    await refusal(book.admit(key, "ann", 0));
    await book.admit(key, "bob", 0);
    await book.admit(key, undefined, 0);
    await refusal(book.admit(key, undefined, 0));
    await book.admit(key, "null", 0);
    expect(await refusal(book.admit(key, "eve", 0))).toMatchObject({ code: "quota_exceeded" });
  });
});

describe("after a restart", () => {
  it("minutes and days go on from the ledger, tokens beyond the limit included", async () => {
    const minute = start / minuteMs;
    const { admit, counted } = openBook(({ windowMs }) =>
      windowMs === minuteMs
        ? [
            [minute - 1, { requests: 9, tokens: 250 }],
            [minute, { requests: 3, tokens: 10 }],
          ]
        : [[Math.floor(start / dayMs), { requests: 12, tokens: 260 }]],
    );
    const limits = { requestsPerMinute: 5, tokensPerMinute: 200, requestsPerDay: 20 };
    const { headers } = await admit(limits);
    expect(headers).toMatchObject({ "x-ratelimit-remaining-requests": "1", "x-ratelimit-remaining-tokens": "140" });
    await admit(limits);
    expect(counted()).toBe(2);
  });

  it("what other processes wrote is seen, where there are any, and what runs here is kept", async () => {
    let elsewhere = 0;
    const minute = start / minuteMs;
    const { admit, wait } = openBook(() => [[minute, { requests: elsewhere, tokens: 0 }]], 5_000);
    const limits = { requestsPerMinute: 10 };
    for (let i = 0; i < 3; i++) await admit(limits);
    elsewhere = 8;
    expect((await admit(limits)).headers["x-ratelimit-remaining-requests"]).toBe("6");
    wait(5_000);
    expect((await admit(limits)).headers["x-ratelimit-remaining-requests"]).toBe("1");
  });

  it("a ledger that cannot be read refuses nobody for good", async () => {
    let broken = true;
    const { admit } = openBook(() => {
      if (broken) throw new Error("gone");
      return [];
    });
    await expect(admit({ requestsPerDay: 1 })).rejects.toThrow("gone");
    broken = false;
    await admit({ requestsPerDay: 1 });
  });
});

it.each([
  [0, "0ms"],
  [119.2, "120ms"],
  [6_500, "6.5s"],
  [360_000, "6m0s"],
  [3_723_000, "1h2m3s"],
])("%d ms is written as %s", (ms, text) => {
  expect(renderDuration(ms)).toBe(text);
});

describe("the API", () => {
  it("tells where a key stands, refuses with 429 and counts what was really used, from the ledger after a restart", async () => {
    const api = await openApi();
    api.engine.script = sayWords("five words in this answer");
    const { secret } = await api.makeKey(["chat"], { limits: { tokensPerDay: 10, requestsPerDay: 100 } });
    const ask = (with_: typeof api) => with_.chat({}, { headers: { authorization: `Bearer ${secret}` } });
    const first = await ask(api);
    expect(first.headers.get("x-ratelimit-limit-tokens")).toBe("10");
    await first.text();
    await (await ask(api)).text();
    const refused = await ask(api);
    expect(refused.status).toBe(429);
    expect(refused.headers.get("x-ratelimit-remaining-tokens")).toBe("0");
    expect(refused.headers.get("x-should-retry")).toBe("false");
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(await refused.json()).toMatchObject({ error: { code: "quota_exceeded", type: "insufficient_quota" } });
    expect(await api.rows()).toHaveLength(2);
    const restarted = await openApi({ replace: { usageStore: api.usageStore, keyStore: api.keyStore } });
    expect((await ask(restarted)).status).toBe(429);
    restarted.close();
    api.close();
  });

  it("counts an answer that its client left, and gives its place back", async () => {
    const api = await openApi();
    api.engine.script = () => [{ text: "one" }, { hold: "middle" }];
    const { secret } = await api.makeKey(["chat"], { limits: { concurrentRequests: 1 } });
    const headers = { authorization: `Bearer ${secret}` };
    const client = new AbortController();
    const answer = await api.chat({ stream: true }, { headers, signal: client.signal });
    const reading = answer.text();
    await api.engine.reached("middle");
    expect((await api.chat({}, { headers })).status).toBe(429);
    client.abort();
    await reading;
    await api.rows();
    api.engine.script = sayWords("again");
    expect((await api.chat({}, { headers })).status).toBe(200);
    api.close();
  });
});
