/** Bodies and query strings of our own routes, checked with messages that name the one thing that is wrong. */
import * as z from "zod";
import { AppError } from "../core/errors.ts";

/** Largest time a Date can hold, milliseconds. */
const timeMsMax = 8.64e15;

const timeMessage = "must be a time such as 2026-01-31, 2026-01-31T12:00:00Z or milliseconds since 1970";

/** A date or milliseconds since the epoch, as text or number; becomes milliseconds. */
export const timeSchema = z
  .union([z.number(), z.string()], timeMessage)
  .transform((given) => {
    if (typeof given === "number") return given;
    return /^\d{9,}$/.test(given) ? Number(given) : Date.parse(given);
  })
  .refine((ms) => Math.abs(ms) <= timeMsMax, timeMessage);

/**
 * @param value a decoded body or the parameters of an address
 * @throws AppError invalid_request whose `param` names the first field at fault
 */
export function parseParameters<Schema extends z.ZodType>(schema: Schema, value: unknown): z.output<Schema> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const { path, message, code } = parsed.error.issues[0]!;
  if (code === "unrecognized_keys") {
    const [field] = (parsed.error.issues[0] as z.core.$ZodIssueUnrecognizedKeys).keys;
    const param = [...path, field].join(".");
    throw new AppError("invalid_request", `${param.slice(0, 100)} is not known here; check its spelling.`, { param });
  }
  const param = path.map(String).join(".");
  if (param === "") throw new AppError("invalid_request", `The body ${message}.`);
  throw new AppError("invalid_request", `${param} ${message}.`, { param });
}
