/** What operators ask of an engine, as its routes take it. */
import * as z from "zod";
import { AppError } from "../core/errors.ts";
import { modelNameCharsMax, swapDrainMsMax } from "../core/limits.ts";
import type { EngineOperation } from "../core/ports.ts";

const nameMessage = "must be the name of a model";
const model = z.string(nameMessage).min(1, nameMessage).max(modelNameCharsMax, nameMessage);
const flag = z.boolean("must be true or false");
const drainMessage = `must be a whole number of milliseconds up to ${swapDrainMsMax}`;
const bodyMessage = "must be a JSON object";

export const loadSchema = z.strictObject({ model, pinned: flag.optional() }, bodyMessage);
export const unloadSchema = z.strictObject(
  { model, drainMs: z.int(drainMessage).min(0, drainMessage).max(swapDrainMsMax, drainMessage).optional() },
  bodyMessage,
);
export const drainSchema = z.strictObject({ draining: flag }, bodyMessage);

/** @throws AppError invalid_request naming the field at fault */
export function parseOperation(verb: "load" | "unload" | "drain", body: unknown): EngineOperation {
  if (verb === "drain") return { verb, ...parse(drainSchema, body) };
  if (verb === "unload") {
    const { model: name, drainMs } = parse(unloadSchema, body);
    return { verb, model: name, ...(drainMs === undefined ? {} : { drainMs }) };
  }
  const { model: name, pinned } = parse(loadSchema, body);
  return { verb, model: name, ...(pinned === undefined ? {} : { pinned }) };
}

/** @throws AppError invalid_request */
export function parsePlanQuestion(name: string | undefined): Extract<EngineOperation, { verb: "plan" }> {
  const parsed = model.safeParse(name);
  if (parsed.success) return { verb: "plan", model: parsed.data };
  throw new AppError("invalid_request", "Ask as plan?model=NAME.", { param: "model" });
}

/** @throws AppError invalid_request */
export function parseDoctorQuestion(language: string | undefined): EngineOperation {
  const locale = language ?? "en";
  if (locale === "en" || locale === "zh") return { verb: "doctor", locale };
  throw new AppError("invalid_request", "lang must be en or zh.", { param: "lang" });
}

/** The request that carries an operation to an engine elsewhere. */
export function renderOperation(operation: EngineOperation): {
  method: "GET" | "POST" | "DELETE";
  path: string;
  body?: object;
} {
  const { verb, ...body } = operation;
  if (verb === "status" || verb === "monitoring") return { method: "GET", path: `/${verb}` };
  if (operation.verb === "doctor") return { method: "GET", path: `/doctor?lang=${operation.locale}` };
  if (operation.verb === "plan") {
    return { method: "GET", path: `/plan?model=${encodeURIComponent(operation.model)}` };
  }
  if (operation.verb === "compare") return { method: "POST", path: "/compare", body: operation.request };
  if (operation.verb === "comparison" || operation.verb === "cancel_comparison") {
    const path = `/compare/${encodeURIComponent(operation.id)}`;
    return { method: operation.verb === "comparison" ? "GET" : "DELETE", path };
  }
  return { method: "POST", path: `/admin/${verb}`, body };
}

function parse<Schema extends z.ZodType>(schema: Schema, body: unknown): z.output<Schema> {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const unknown = issue?.code === "unrecognized_keys" ? issue.keys[0] : undefined;
  const param = unknown ?? (issue?.path.join(".") || "body");
  const what = unknown === undefined ? (issue?.message ?? "is not understood") : "is not known here";
  throw new AppError("invalid_request", `${param} ${what}.`, { param });
}
