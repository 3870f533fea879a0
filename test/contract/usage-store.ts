/**
 * What every ledger must keep: SQLite and D1 run the same suite. It imports nothing of Node, so that it also runs
 * inside workerd.
 */
import { describe, expect, test } from "vitest";
import { createEngineStore } from "../../src/api/engine-store.ts";
import { createKeyStore } from "../../src/api/key-store.ts";
import { createSessionStore } from "../../src/api/session-store.ts";
import { connect, type Database } from "../../src/api/usage/database.ts";
import { apiKeys, usage } from "../../src/api/usage/schema.ts";
import { createUsageStore } from "../../src/api/usage/store.ts";
import { AppError } from "../../src/core/errors.ts";
import type { UsageAdmission, UsageGrouping, UsageReceipt } from "../../src/core/ports.ts";

let admissions = 0;

function admission(more: Partial<UsageAdmission> = {}): UsageAdmission {
  admissions++;
  return { id: `r${admissions}`, at: 1000, keyId: "k1", source: "api", model: "asked", stream: true, ...more };
}

function receipt(id: string, more: Partial<UsageReceipt> = {}): UsageReceipt {
  return { id, usage: {}, timings: {}, aborted: false, ...more };
}

/** @param openEmpty opens a ledger whose tables are there and empty; called once per test */
export function describeUsageStore(name: string, openEmpty: () => Promise<Database>): void {
  const open = async () => {
    const database = await openEmpty();
    return { database, store: createUsageStore(database), keys: createKeyStore(database) };
  };

  describe(`${name} keeps the usage store contract`, () => {
    test("an admitted request is a row that is not settled and claims no usage", async () => {
      const { store } = await open();
      const admitted = admission({ userId: "ann" });
      await store.admit(admitted);
      expect(await store.rows({})).toEqual([
        { ...admitted, usage: {}, timings: {}, aborted: false, settled: false, interrupted: false },
      ]);
    });

    test("a receipt completes the row", async () => {
      const { store } = await open();
      const admitted = admission({ stream: false, source: "discord" });
      const facts = {
        model: "answered",
        quantization: "Q4_K_M",
        engineId: "e1",
        usage: { promptTokens: 12, completionTokens: 34, cachedPromptTokens: 5, estimated: true },
        timings: {
          queueMs: 1.5,
          timeToFirstTokenMs: 20.25,
          totalMs: 99.5,
          prefillTokensPerSecond: 400.5,
          completionTokensPerSecond: 33.3,
        },
        finishReason: "length" as const,
        aborted: false,
      };
      await store.admit(admitted);
      await store.settle({ id: admitted.id, ...facts });
      expect(await store.rows({})).toEqual([{ ...admitted, ...facts, settled: true, interrupted: false }]);
    });

    test("an aborted and a failed request keep what they produced", async () => {
      const { store } = await open();
      const [aborted, failed] = [admission({ at: 1 }), admission({ at: 2 })];
      await Promise.all([store.admit(aborted), store.admit(failed)]);
      await store.settle(receipt(aborted.id, { aborted: true, usage: { completionTokens: 3 } }));
      await store.settle(receipt(failed.id, { errorCode: "engine_unavailable", usage: { completionTokens: 4 } }));
      const rows = await store.rows({});
      expect(rows[0]).toMatchObject({ errorCode: "engine_unavailable", usage: { completionTokens: 4 }, settled: true });
      expect(rows[1]).toMatchObject({ aborted: true, usage: { completionTokens: 3 }, model: "asked", settled: true });
      expect(rows[0]).not.toHaveProperty("finishReason");
    });

    test("what an answer has produced so far is kept if its end is never told, and replaced by it otherwise", async () => {
      const { store } = await open();
      const [lost, ended] = [admission({ at: 1 }), admission({ at: 2 })];
      await Promise.all([store.admit(lost), store.admit(ended)]);
      for (const completionTokens of [5, 9]) {
        const produced = { promptTokens: 3, completionTokens, estimated: true };
        await store.note(receipt(lost.id, { model: "answered", usage: produced, timings: { totalMs: 7 } }));
        await store.note(receipt(ended.id, { usage: produced }));
      }
      await store.settle(receipt(ended.id, { usage: { completionTokens: 11, estimated: false } }));
      await store.note(receipt(ended.id, { usage: { completionTokens: 1, estimated: true } }));
      await store.markInterrupted(10);
      await store.note(receipt(lost.id, { usage: { completionTokens: 1, estimated: true } }));
      const [second, first] = await store.rows({});
      expect(first).toMatchObject({
        model: "answered",
        interrupted: true,
        usage: { promptTokens: 3, completionTokens: 9, estimated: true },
        timings: {},
      });
      expect(first!.timings).not.toHaveProperty("totalMs");
      expect(second).toMatchObject({ settled: true, usage: { promptTokens: 3, completionTokens: 11 } });
      expect(second!.usage).not.toHaveProperty("estimated");
    });

    test("a second receipt for the same request changes nothing", async () => {
      const { store } = await open();
      const admitted = admission();
      await store.admit(admitted);
      await store.settle(receipt(admitted.id, { finishReason: "stop", usage: { completionTokens: 3 } }));
      const before = await store.rows({});
      await store.settle(receipt(admitted.id, { aborted: true, usage: { completionTokens: 99 } }));
      expect(await store.rows({})).toEqual(before);
    });

    test("a receipt without an admission makes no row", async () => {
      const { store } = await open();
      await store.settle(receipt("never-admitted"));
      expect(await store.rows({})).toEqual([]);
    });

    test("an id is admitted once", async () => {
      const { store } = await open();
      const admitted = admission();
      await store.admit(admitted);
      await expect(store.admit(admitted)).rejects.toBeInstanceOf(AppError);
      expect(await store.rows({})).toHaveLength(1);
    });

    test("rows come newest first and as many as asked", async () => {
      const { store } = await open();
      for (const at of [30, 10, 20]) await store.admit(admission({ at }));
      expect((await store.rows({})).map((row) => row.at)).toEqual([30, 20, 10]);
      expect((await store.rows({ limit: 2 })).map((row) => row.at)).toEqual([30, 20]);
    });

    test("rows are found by their ids, however many, and unknown ids are left out", async () => {
      const { store } = await open();
      const admitted = Array.from({ length: 120 }, () => admission());
      for (const one of admitted) await store.admit(one);
      await store.settle(receipt(admitted[3]!.id, { usage: { completionTokens: 7 } }));
      const ids = admitted.slice(1).map(({ id }) => id);
      const rows = await store.rowsOf([...ids, "nobody's"]);
      expect(rows.map(({ id }) => id).sort()).toEqual([...ids].sort());
      expect(rows.find(({ settled }) => settled)).toMatchObject({
        id: admitted[3]!.id,
        usage: { completionTokens: 7 },
      });
      expect(await store.rowsOf([])).toEqual([]);
    });

    test("a query takes in its beginning, not its end, and can name key and user", async () => {
      const { store } = await open();
      for (const at of [10, 20, 30]) await store.admit(admission({ at }));
      await store.admit(admission({ at: 20, keyId: "k2", userId: "ann" }));
      expect((await store.rows({ since: 10, until: 30, keyId: "k1" })).map((row) => row.at)).toEqual([20, 10]);
      expect(await store.rows({ userId: "ann" })).toMatchObject([{ keyId: "k2" }]);
      expect(await store.rows({ userId: "ann' or 1=1 --" })).toEqual([]);
      expect(await store.totals({ since: 10, until: 30 })).toMatchObject({ requests: 3 });
    });

    test("totals add up everything that matches, whatever the limit", async () => {
      const { store } = await open();
      const counts = { promptTokens: 10, completionTokens: 2, cachedPromptTokens: 1 };
      const endings: Partial<UsageReceipt>[] = [
        { usage: counts, finishReason: "stop" },
        { usage: counts, aborted: true },
        { usage: counts, errorCode: "engine_timeout" },
        { usage: {} },
      ];
      for (const ending of endings) {
        const admitted = admission();
        await store.admit(admitted);
        await store.settle(receipt(admitted.id, ending));
      }
      expect(await store.totals({ limit: 1 })).toEqual({
        requests: 4,
        aborted: 1,
        failed: 1,
        interrupted: 0,
        promptTokens: 30,
        completionTokens: 6,
        cachedPromptTokens: 3,
      });
    });

    test("totals of nothing are zeros", async () => {
      const { store } = await open();
      expect(Object.values(await store.totals({}))).toEqual(Array(7).fill(0));
    });

    test("rows without a receipt are marked interrupted, not lost, and a late receipt still completes them", async () => {
      const { store } = await open();
      const [old, recent, settled] = [admission({ at: 1 }), admission({ at: 50 }), admission({ at: 2 })];
      for (const one of [old, recent, settled]) await store.admit(one);
      await store.settle(receipt(settled.id, { finishReason: "stop" }));
      expect(await store.markInterrupted(50)).toBe(1);
      const state = async () => (await store.rows({})).map((row) => [row.at, row.settled, row.interrupted]);
      expect(await state()).toEqual([
        [50, false, false],
        [2, true, false],
        [1, false, true],
      ]);
      expect(await store.totals({})).toMatchObject({ requests: 3, interrupted: 1 });
      await store.settle(receipt(old.id, { finishReason: "stop" }));
      expect((await state()).at(-1)).toEqual([1, true, false]);
    });

    test("requests at once all leave their rows", async () => {
      const { store } = await open();
      const all = Array.from({ length: 40 }, () => admission());
      await Promise.all(
        all.map(async (one) => {
          await store.admit(one);
          await store.settle(receipt(one.id, { usage: { completionTokens: 1 } }));
        }),
      );
      expect(await store.totals({})).toMatchObject({ requests: 40, completionTokens: 40 });
    });

    test("text of any script and any odd characters comes back as it went in", async () => {
      const { store } = await open();
      const userId = "显存'\"\\; DROP TABLE usage; 🙂";
      await store.admit(admission({ userId }));
      expect((await store.rows({ userId }))[0]?.userId).toBe(userId);
    });

    test("a key is found by its hash, with its scopes, and counted", async () => {
      const { keys } = await open();
      const key = {
        id: "k1",
        name: "first",
        scopes: ["chat" as const, "usage" as const],
        fingerprint: "abc",
        createdAt: 5,
      };
      expect(await keys.count()).toBe(0);
      await keys.insert({ ...key, hash: "h1" });
      expect(await keys.count()).toBe(1);
      expect(await keys.findByHash("h1")).toEqual(key);
      expect(await keys.findByHash("h2")).toBeUndefined();
      expect(await keys.find("k1")).toEqual(key);
      expect(await keys.find("k2")).toBeUndefined();
      await expect(keys.insert({ ...key, id: "k2", hash: "h1" })).rejects.toBeInstanceOf(AppError);
    });

    const day = 86_400_000;
    const asked = async (store: ReturnType<typeof createUsageStore>, more: Partial<UsageAdmission>, tokens = 10) => {
      const admitted = admission(more);
      await store.admit(admitted);
      const timings = { timeToFirstTokenMs: tokens, totalMs: tokens * 10, completionTokensPerSecond: 20 };
      await store.settle(receipt(admitted.id, { finishReason: "stop", usage: { completionTokens: tokens }, timings }));
      return admitted.id;
    };

    test("groups add up by day, user, model, source, engine, key and status, with quantiles", async () => {
      const { store } = await open();
      for (let i = 1; i <= 100; i++) {
        await asked(store, { at: i % 2 === 0 ? day : 2 * day, userId: i <= 60 ? "ann" : "bob" }, i);
      }
      await store.admit(admission({ at: 2 * day, keyId: "k2" }));
      const read = async (group: UsageGrouping, more: object = {}) =>
        (await store.groups({ group, limit: 50, ...more })).groups;
      expect((await read("day")).map(({ value, requests }) => [value, requests])).toEqual([
        ["1970-01-02", 50],
        ["1970-01-03", 51],
      ]);
      expect(
        (await read("user")).map(({ value, requests, completionTokens }) => [value, requests, completionTokens]),
      ).toEqual([
        ["ann", 60, 1830],
        ["bob", 40, 3220],
        ["", 1, 0],
      ]);
      expect((await read("status")).map(({ value, requests }) => [value, requests])).toEqual([
        ["completed", 100],
        ["running", 1],
      ]);
      expect((await read("key")).map(({ value, requests }) => [value, requests])).toEqual([
        ["k1", 100],
        ["k2", 1],
      ]);
      const [all] = await read("source");
      expect(all).toMatchObject({ value: "api", requests: 101 });
      expect(all).not.toHaveProperty("queueMs");
      const { count, p50, p95, p99 } = all!.timeToFirstTokenMs!;
      expect(count).toBe(100);
      for (const [found, true_] of [
        [p50, 50],
        [p95, 95],
        [p99, 99],
      ] as const) {
        expect(Math.abs(found - true_) / true_).toBeLessThan(0.03);
      }
      const { groups, groupCount, totals } = await store.groups({ group: "user", limit: 1 });
      expect(groups).toHaveLength(1);
      expect(groupCount).toBe(3);
      expect(totals).toMatchObject({ requests: 101, completionTokens: 5050 });
    });

    test("groups are the same before a day is added up, after it, and when its rows are gone", async () => {
      const { store } = await open();
      const names = ["ann", "bob", undefined];
      for (let i = 0; i < 60; i++) {
        const userId = names[i % 3];
        const at = day + i * 3_000_000;
        await asked(
          store,
          { at, keyId: `k${i % 2}`, model: `m${i % 4}`, ...(userId === undefined ? {} : { userId }) },
          i + 1,
        );
      }
      const groupings = ["day", "key", "user", "model", "source", "engine", "status"] as const;
      const queries = groupings.flatMap((group) => [
        { group, limit: 50 },
        { group, limit: 50, keyId: "k1" },
        { group, limit: 2, since: day + 7_000_000, until: 3 * day - 1 },
        { group, limit: 50, since: 2 * day },
      ]);
      const all = () => Promise.all(queries.map((query) => store.groups(query)));
      const before = await all();
      const totals = await store.totals({});
      expect(totals.requests).toBe(60);
      expect(await store.rollUp(3 * day - 1)).toBe(1);
      expect(await all()).toEqual(before);
      expect(await store.rollUp(4 * day)).toBe(2);
      expect(await store.rollUp(4 * day)).toBe(0);
      expect(await all()).toEqual(before);
      expect(await store.forget(2 * day + 5)).toBe(29);
      expect((await store.rows({ limit: 100 })).length).toBe(31);
      expect(await store.totals({})).toEqual(totals);
      const whole = queries.filter((query) => query.since === undefined || query.since % day === 0);
      expect(await Promise.all(whole.map((query) => store.groups(query)))).toEqual(
        before.filter((_, place) => whole.includes(queries[place]!)),
      );
    });

    test("a day with a running request is not added up, and rows that are not added up are not forgotten", async () => {
      const { store } = await open();
      await asked(store, { at: 1 });
      const late = admission({ at: 2 });
      await store.admit(late);
      expect(await store.rollUp(9 * day)).toBe(0);
      expect(await store.forget(9 * day)).toBe(0);
      await store.settle(receipt(late.id, { usage: { completionTokens: 7 } }));
      expect(await store.rollUp(day)).toBe(1);
      expect(await store.forget(day)).toBe(2);
      expect(await store.totals({})).toMatchObject({ requests: 2, completionTokens: 17 });
    });

    test("series by hour and by day are the same before and after sums were made, and add up to the groups", async () => {
      const { store } = await open();
      for (let i = 0; i < 60; i++) {
        await asked(store, { at: day + i * 3_000_000, model: `m${i % 4}` }, i + 1);
      }
      const time = { since: day, until: 4 * day };
      const hour = 3_600_000 as const;
      const steps = { stepMs: day, latencies: true } as const;
      const days = () => store.series({ ...time, ...steps, group: "model" });
      const hours = () => store.series({ ...time, stepMs: hour, group: "model", values: ["m1"] });
      const before = await Promise.all([days(), hours(), store.series({ ...time, ...steps, group: "day" })]);
      expect(before[0].filter(({ value }) => value === "m1").map(({ at, requests }) => [at, requests])).toEqual([
        [day, 7],
        [2 * day, 8],
      ]);
      expect(before[1].every(({ at, value }) => value === "m1" && at % hour === 0)).toBe(true);
      expect(before[1].reduce((sum, { completionTokens }) => sum + completionTokens, 0)).toBe(450);
      const { totals } = await store.groups({ ...time, group: "model", limit: 0 });
      const sum = (points: { completionTokens: number }[]) =>
        points.reduce((total, { completionTokens }) => total + completionTokens, 0);
      expect(sum(before[0])).toBe(totals.completionTokens);
      expect(sum(before[2])).toBe(totals.completionTokens);
      expect(before[2].map(({ value, totalMs }) => [value, totalMs?.count])).toEqual([
        ["", 29],
        ["", 29],
        ["", 2],
      ]);
      expect(await store.rollUp(3 * day + 12 * hour)).toBe(2);
      const after = await Promise.all([days(), hours(), store.series({ ...time, ...steps, group: "day" })]);
      expect(after).toEqual(before);
    });

    test("failures are counted by code and listed newest first, within the time asked for", async () => {
      const { store } = await open();
      for (const [at, errorCode] of [
        [1, "engine_timeout"],
        [2, "engine_unavailable"],
        [3, "engine_timeout"],
        [9, "engine_timeout"],
      ] as const) {
        const admitted = admission({ at });
        await store.admit(admitted);
        await store.settle(receipt(admitted.id, { errorCode }));
      }
      await asked(store, { at: 2 });
      const { codes, rows } = await store.failures({ since: 1, until: 9, limit: 2 });
      expect(codes).toEqual([
        { code: "engine_timeout", requests: 2 },
        { code: "engine_unavailable", requests: 1 },
      ]);
      expect(rows.map(({ at, errorCode }) => [at, errorCode])).toEqual([
        [3, "engine_timeout"],
        [2, "engine_unavailable"],
      ]);
    });

    test("a session is found until it is closed, and expired ones are forgotten with the next", async () => {
      const { database } = await open();
      const sessions = createSessionStore(database);
      const first = { hash: "a", keyId: "k", expiresAt: 10 };
      await sessions.open(first, 5);
      expect(await sessions.find("a")).toEqual(first);
      expect(await sessions.find("b")).toBeUndefined();
      await sessions.open({ hash: "b", keyId: "k", expiresAt: 20 }, 11);
      expect(await sessions.find("a")).toBeUndefined();
      await sessions.close("b");
      expect(await sessions.find("b")).toBeUndefined();
    });

    test("pages of rows follow each other without gap or repeat", async () => {
      const { store } = await open();
      for (let i = 0; i < 7; i++) await store.admit(admission({ at: Math.floor(i / 3) }));
      const whole = (await store.rows({})).map((row) => row.id);
      const paged: string[] = [];
      let after: { at: number; id: string } | undefined;
      for (;;) {
        const rows = await store.rows({ limit: 2, ...(after === undefined ? {} : { after }) });
        paged.push(...rows.map((row) => row.id));
        if (rows.length < 2) break;
        after = rows.at(-1)!;
      }
      expect(paged).toEqual(whole);
    });

    test("keys are listed oldest first with all they are held to, and a revoked one keeps its first time", async () => {
      const { keys } = await open();
      const key = { name: "n", scopes: ["chat" as const], fingerprint: "f" };
      const held = { expiresAt: 99, models: ["m"], limits: { requestsPerDay: 3 }, userLimits: { tokensPerMinute: 7 } };
      await keys.insert({ ...key, id: "new", createdAt: 2, hash: "h2", ...held });
      await keys.insert({ ...key, id: "old", createdAt: 1, hash: "h1" });
      expect(await keys.list()).toEqual([
        { ...key, id: "old", createdAt: 1 },
        { ...key, id: "new", createdAt: 2, ...held },
      ]);
      expect(await keys.revoke("old", 50)).toMatchObject({ id: "old", revokedAt: 50 });
      expect(await keys.revoke("old", 60)).toMatchObject({ revokedAt: 50 });
      expect(await keys.findByHash("h1")).toMatchObject({ revokedAt: 50 });
      expect(await keys.findByHash("h2")).not.toHaveProperty("revokedAt");
      expect(await keys.revoke("none", 50)).toBeUndefined();
    });

    test("consumption counts requests where they began and tokens where their answer ended", async () => {
      const { store } = await open();
      const ask = async (
        at: number,
        totalMs: number | undefined,
        tokens: number,
        more: Partial<UsageAdmission> = {},
      ) => {
        const admitted = admission({ at, ...more });
        await store.admit(admitted);
        if (totalMs === undefined) return;
        await store.settle(
          receipt(admitted.id, { usage: { promptTokens: 1, completionTokens: tokens - 1 }, timings: { totalMs } }),
        );
      };
      await ask(5_990, 5, 100);
      await ask(6_100, 20.5, 10, { userId: "ann" });
      await ask(6_900, 150, 20);
      await ask(7_100, undefined, 0, { userId: "ann" });
      await ask(6_200, 10, 1000, { keyId: "other" });
      const windows = async (user?: string | null) =>
        Object.fromEntries(
          await store.consumption({
            keyId: "k1",
            since: 6000,
            windowMs: 1000,
            ...(user === undefined ? {} : { user }),
          }),
        );
      expect(await windows()).toEqual({ 6: { requests: 2, tokens: 10 }, 7: { requests: 1, tokens: 20 } });
      expect(await windows("ann")).toEqual({ 6: { requests: 1, tokens: 10 }, 7: { requests: 1, tokens: 0 } });
      expect(await windows(null)).toEqual({ 6: { requests: 1, tokens: 0 }, 7: { requests: 0, tokens: 20 } });
    });

    test("registered engines are kept, replaced by name, and removed", async () => {
      const { database } = await open();
      const engines = createEngineStore(database);
      const attic = { name: "attic", url: "http://a", token: "secret", weight: 1.5, draining: false, createdAt: 1 };
      const cellar = { name: "cellar", url: "http://c", weight: 1, draining: true, createdAt: 2 };
      await engines.put(cellar);
      await engines.put(attic);
      expect(await engines.list()).toEqual([attic, cellar]);
      const { token: _, ...withoutToken } = attic;
      await engines.put({ ...withoutToken, url: "http://b" });
      expect(await engines.list()).toEqual([{ ...withoutToken, url: "http://b" }, cellar]);
      expect(await engines.remove("attic")).toBe(true);
      expect(await engines.remove("attic")).toBe(false);
      expect(await engines.list()).toEqual([cellar]);
    });

    test("statements run as one: a failing one takes the others back", async () => {
      const { database, store, keys } = await open();
      const db = connect(database);
      const row = {
        id: "same",
        at: 1,
        status: "running",
        keyId: "k",
        source: "api",
        model: "m",
        stream: true,
      } as const;
      const key = { id: "k", name: "n", hash: "h", fingerprint: "f", scopes: [], createdAt: 1 };
      const both = () => db.batch([db.insert(apiKeys).values(key), db.insert(usage).values(row)]);
      await store.admit(admission({ id: "same" }));
      await expect(both()).rejects.toThrow();
      expect(await keys.count()).toBe(0);
      await db.delete(usage);
      await both();
      expect(await keys.count()).toBe(1);
      expect(await store.rows({})).toHaveLength(1);
    });

    test("statements that read give their rows in order", async () => {
      const { database } = await open();
      const read = (text: string, params: unknown[]) => ({ sql: text, params });
      const results = await database.atomic([read("select ? as b, ? as a", [1, "x"]), read("select ? as c", [null])]);
      expect(results).toEqual([[[1, "x"]], [[null]]]);
    });

    test("check passes on a ledger that works", async () => {
      const { store } = await open();
      await expect(store.check()).resolves.toBeUndefined();
    });
  });
}
