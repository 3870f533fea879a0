/** `snug keys`: what the options ask for, and keys as a table. */
import stringWidth from "string-width";
import { AppError } from "../core/errors.ts";
import { padCells, type Terminal } from "./terminal.ts";

export interface KeyCreateOptions {
  name: string;
  scopes?: string;
  models?: string;
  /** A date, or a time from now such as 12h or 30d. */
  expires?: string;
  requestsPerMinute?: number;
  requestsPerDay?: number;
  tokensPerMinute?: number;
  tokensPerDay?: number;
  concurrent?: number;
  userRequestsPerMinute?: number;
  userRequestsPerDay?: number;
  userTokensPerMinute?: number;
  userTokensPerDay?: number;
  userConcurrent?: number;
  weight?: number;
  priority?: string;
  json?: boolean;
}

export interface KeyListOptions {
  json?: boolean;
}

/** A key as it is shown; times are ISO. */
export interface KeyRow {
  id: string;
  name: string;
  fingerprint: string;
  scopes: readonly string[];
  state: "active" | "expired" | "revoked";
  createdAt: string;
  expiresAt?: string;
  models?: readonly string[];
  limits?: object;
  userLimits?: object;
  weight?: number;
  priority?: string;
}

const unitMs: Record<string, number> = { h: 3_600_000, d: 86_400_000, w: 7 * 86_400_000 };

/** The body that POST /v1/keys takes; what is wrong in it is said there. */
export function toKeyRequest(options: KeyCreateOptions, now: number): Record<string, unknown> {
  const { name, scopes, models, expires } = options;
  const request: Record<string, unknown> = { name };
  if (scopes !== undefined) request.scopes = splitList(scopes);
  if (models !== undefined) request.models = splitList(models);
  if (expires !== undefined) request.expiresAt = readExpiry(expires, now);
  const limits = given({
    requestsPerMinute: options.requestsPerMinute,
    requestsPerDay: options.requestsPerDay,
    tokensPerMinute: options.tokensPerMinute,
    tokensPerDay: options.tokensPerDay,
    concurrentRequests: options.concurrent,
  });
  const userLimits = given({
    requestsPerMinute: options.userRequestsPerMinute,
    requestsPerDay: options.userRequestsPerDay,
    tokensPerMinute: options.userTokensPerMinute,
    tokensPerDay: options.userTokensPerDay,
    concurrentRequests: options.userConcurrent,
  });
  if (options.weight !== undefined) request.weight = options.weight;
  if (options.priority !== undefined) request.priority = options.priority;
  if (limits !== undefined) request.limits = limits;
  if (userLimits !== undefined) request.userLimits = userLimits;
  return request;
}

function readExpiry(text: string, now: number): string | number {
  const [, amount, unit] = /^(\d{1,6})([hdw])$/.exec(text) ?? [];
  if (amount !== undefined && unit !== undefined) return now + Number(amount) * unitMs[unit]!;
  if (Number.isNaN(Date.parse(text))) {
    throw new AppError(
      "invalid_request",
      `--expires ${text} is no time; write 12h, 30d, 4w or a date such as 2027-01-31.`,
    );
  }
  return text;
}

function splitList(text: string): string[] {
  return text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");
}

function given(limits: Record<string, number | undefined>): Record<string, number> | undefined {
  const set = Object.entries(limits).filter((entry): entry is [string, number] => entry[1] !== undefined);
  return set.length === 0 ? undefined : Object.fromEntries(set);
}

const headings = {
  en: { id: "ID", name: "NAME", scopes: "SCOPES", state: "STATE", created: "CREATED", held: "HELD TO" },
  zh: { id: "ID", name: "名称", scopes: "权限", state: "状态", created: "创建日期", held: "限制" },
};
const states = {
  en: { active: "active", expired: "expired", revoked: "revoked" },
  zh: { active: "有效", expired: "已过期", revoked: "已吊销" },
};

export function renderKeys(keys: readonly KeyRow[], { locale, paint }: Pick<Terminal, "locale" | "paint">): string {
  const h = headings[locale];
  const rows = keys.map((key) => [
    key.id,
    key.name,
    key.scopes.join(","),
    states[locale][key.state],
    key.createdAt.slice(0, 10),
    heldTo(key),
  ]);
  const table = [[h.id, h.name, h.scopes, h.state, h.created, h.held], ...rows];
  const widths = table[0]!.map((_, column) => Math.max(...table.map((row) => stringWidth(row[column]!))));
  return table
    .map((row, line) => {
      const text = row
        .map((cell, column) => padCells(cell, widths[column]!))
        .join("  ")
        .trimEnd();
      return line === 0 || keys[line - 1]!.state !== "active" ? paint("dim", text) : text;
    })
    .join("\n");
}

function heldTo(key: KeyRow): string {
  const parts: string[] = [];
  if (key.expiresAt !== undefined) parts.push(`until ${key.expiresAt.slice(0, 16).replace("T", " ")}`);
  if (key.models !== undefined) parts.push(key.models.join(","));
  if (key.weight !== undefined) parts.push(`weight ${key.weight}`);
  if (key.priority === "batch") parts.push("batch");
  for (const [limits, whose] of [
    [key.limits, ""],
    [key.userLimits, " per user"],
  ] as const) {
    for (const [name, value] of Object.entries(limits ?? {}))
      parts.push(`${limitNames[name] ?? name} ${value}${whose}`);
  }
  return parts.join("; ");
}

const limitNames: Record<string, string> = {
  requestsPerMinute: "requests/min",
  requestsPerDay: "requests/day",
  tokensPerMinute: "tokens/min",
  tokensPerDay: "tokens/day",
  concurrentRequests: "at once",
};
