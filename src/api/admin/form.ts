/** Forms of the admin page: read with a bound, and their fields made into what the API's own routes take. */
import { AppError } from "../../core/errors.ts";
import { adminFormBytesMax } from "../../core/limits.ts";
import { readBytes } from "../../http/json-body.ts";

/** @throws AppError invalid_request or payload_too_large */
export async function readForm(request: Request): Promise<URLSearchParams> {
  if (!(request.headers.get("content-type") ?? "").startsWith("application/x-www-form-urlencoded")) {
    throw new AppError("invalid_request", "The form was not sent as a form.");
  }
  const bytes = await readBytes(request.body, adminFormBytesMax).catch((cause) => {
    throw new AppError("invalid_request", "The form broke off before its end; send it again.", { cause });
  });
  if (bytes === undefined) throw new AppError("payload_too_large", "The form is too large.");
  return new URLSearchParams(new TextDecoder().decode(bytes));
}

/** A field without its surrounding spaces; undefined when it is empty or absent. */
export function field(form: URLSearchParams, name: string): string | undefined {
  const value = form.get(name)?.trim();
  return value === undefined || value === "" ? undefined : value;
}

/** A number where the field holds one; else its text, for the route's own check to complain about. */
export function amount(form: URLSearchParams, name: string): number | string | undefined {
  const value = field(form, name);
  if (value === undefined) return undefined;
  return /^-?\d+(?:\.\d+)?$/.test(value) ? Number(value) : value;
}

export const limitNames = [
  "requestsPerMinute",
  "requestsPerDay",
  "tokensPerMinute",
  "tokensPerDay",
  "concurrentRequests",
] as const;

/** The body of POST /v1/keys. */
export function keyBody(form: URLSearchParams): Record<string, unknown> {
  const limits = (of: "limits" | "userLimits") =>
    withoutEmpty(Object.fromEntries(limitNames.map((name) => [name, amount(form, `${of}.${name}`)])));
  const models = (field(form, "models") ?? "").split(/[,，\s]+/).filter((name) => name !== "");
  return withoutEmpty({
    name: form.get("name") ?? "",
    scopes: form.getAll("scopes"),
    models: models.length === 0 ? undefined : models,
    expiresAt: field(form, "expiresAt"),
    limits: limits("limits"),
    userLimits: limits("userLimits"),
    weight: amount(form, "weight"),
    priority: field(form, "priority"),
  });
}

/** The body of POST /v1/engines. */
export function engineBody(form: URLSearchParams): Record<string, unknown> {
  return withoutEmpty({
    name: form.get("name")?.trim() ?? "",
    url: form.get("url")?.trim() ?? "",
    token: field(form, "token"),
    weight: amount(form, "weight"),
  });
}

function withoutEmpty(members: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));
}
