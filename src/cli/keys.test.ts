import { expect, it } from "vitest";
import { AppError } from "../core/errors.ts";
import { renderKeys, toKeyRequest } from "./keys.ts";

const now = Date.UTC(2026, 0, 5);

it("options become the body that makes a key", () => {
  const options = {
    name: "bot",
    scopes: "chat, usage",
    models: "a,b",
    expires: "30d",
    requestsPerDay: 5,
    userConcurrent: 1,
    weight: 2.5,
    priority: "batch",
  };
  expect(toKeyRequest(options, now)).toEqual({
    name: "bot",
    scopes: ["chat", "usage"],
    models: ["a", "b"],
    expiresAt: now + 30 * 86_400_000,
    limits: { requestsPerDay: 5 },
    userLimits: { concurrentRequests: 1 },
    weight: 2.5,
    priority: "batch",
  });
  expect(toKeyRequest({ name: "bot" }, now)).toEqual({ name: "bot" });
  expect(toKeyRequest({ name: "bot", expires: "2027-01-31" }, now)).toMatchObject({ expiresAt: "2027-01-31" });
});

it("an expiry that is no time is refused with the ways to write one", () => {
  expect(() => toKeyRequest({ name: "bot", expires: "soon" }, now)).toThrow(AppError);
  expect(() => toKeyRequest({ name: "bot", expires: "soon" }, now)).toThrow(/30d/);
});

it("keys stand in columns that line up in Chinese too, with what they are held to", () => {
  const key = { fingerprint: "f", scopes: ["chat"], createdAt: "2026-01-05T00:00:00.000Z" };
  const rows = [
    { ...key, id: "key-1", name: "机器人", state: "active" as const, limits: { requestsPerDay: 5 }, models: ["m"] },
    { ...key, id: "key-22", name: "b", state: "revoked" as const, userLimits: { concurrentRequests: 1 }, weight: 2 },
  ];
  const text = renderKeys(rows, { locale: "zh", paint: (_style, line) => line });
  expect(text.split("\n")).toEqual([
    "ID      名称    权限  状态    创建日期    限制",
    "key-1   机器人  chat  有效    2026-01-05  m; requests/day 5",
    "key-22  b       chat  已吊销  2026-01-05  weight 2; at once 1 per user",
  ]);
});
