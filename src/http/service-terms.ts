/** The terms of a request as headers: what the API tells an engine of a caller, and what a caller may ask for. */
import type { RequestPriority, ServiceTerms } from "../core/chat.ts";
import { AppError } from "../core/errors.ts";
import { answerMsMax, deadlineMsMin, keyWeightMax, keyWeightMin } from "../core/limits.ts";

export type HeaderReader = (name: string) => string | undefined;

export function renderTermsHeaders(terms: ServiceTerms = {}): Record<string, string> {
  const { keyId, weight, priority, firstTokenMsMax, totalMsMax } = terms;
  return {
    ...(keyId === undefined ? {} : { "x-snug-key": keyId }),
    ...(weight === undefined ? {} : { "x-snug-weight": String(weight) }),
    ...(priority === undefined ? {} : { "x-snug-priority": priority }),
    ...(firstTokenMsMax === undefined ? {} : { "x-snug-first-token-ms": String(Math.ceil(firstTokenMsMax)) }),
    ...(totalMsMax === undefined ? {} : { "x-snug-total-ms": String(Math.ceil(totalMsMax)) }),
  };
}

/**
 * What anybody may say: a priority, which can only be lowered, and deadlines, which can only be brought forward.
 *
 * @throws AppError invalid_request naming the header
 */
export function readAskedTerms(
  header: HeaderReader,
): Pick<ServiceTerms, "priority" | "firstTokenMsMax" | "totalMsMax"> {
  const priority = readPriority(header("x-snug-priority"));
  const firstTokenMsMax = readDeadline(header, "x-snug-first-token-ms");
  const totalMsMax = readDeadline(header, "x-snug-total-ms");
  return {
    ...(priority === undefined ? {} : { priority }),
    ...(firstTokenMsMax === undefined ? {} : { firstTokenMsMax }),
    ...(totalMsMax === undefined ? {} : { totalMsMax }),
  };
}

/**
 * All of them, from somebody who showed the engine's token and so speaks for the keys behind it. What is not understood
 * of key and weight counts as not said: an engine must not refuse an answer over it.
 */
export function readGrantedTerms(header: HeaderReader): ServiceTerms {
  const keyId = header("x-snug-key");
  const weight = Number(header("x-snug-weight"));
  return {
    ...readAskedTerms(header),
    ...(keyId !== undefined && /^[\w.:-]{1,100}$/.test(keyId) ? { keyId } : {}),
    ...(weight >= keyWeightMin && weight <= keyWeightMax ? { weight } : {}),
  };
}

function readPriority(word: string | undefined): RequestPriority | undefined {
  if (word === undefined || word === "") return undefined;
  if (word === "interactive" || word === "batch") return word;
  throw fault("x-snug-priority", 'must be "interactive" or "batch"');
}

function readDeadline(header: HeaderReader, name: string): number | undefined {
  const text = header(name);
  if (text === undefined || text === "") return undefined;
  const ms = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (ms >= deadlineMsMin && ms <= answerMsMax) return ms;
  throw fault(name, `must be a whole number of milliseconds from ${deadlineMsMin} to ${answerMsMax}`);
}

function fault(param: string, what: string): AppError {
  return new AppError("invalid_request", `${param} ${what}.`, { param });
}
