/** API keys as administrators handle them: made, listed, revoked. */
import * as z from "zod";
import { AppError } from "../core/errors.ts";
import { keyModelsMax, keyNameCharsMax, keyWeightMax, keyWeightMin, modelNameCharsMax } from "../core/limits.ts";
import type { ApiKey, KeyScope, KeyStore, QuotaLimits } from "../core/ports.ts";
import { createKey, createSecret, type KeyMaking } from "./auth.ts";
import { parseParameters, timeSchema } from "./parameters.ts";

export const scopes: [KeyScope, ...KeyScope[]] = ["chat", "fits", "usage", "engine", "compare", "admin"];

const amount = z.int("must be a whole number").min(1, "must be at least 1; leave it out for no limit").optional();

const limitsSchema = z.strictObject(
  {
    requestsPerMinute: amount,
    requestsPerDay: amount,
    tokensPerMinute: amount,
    tokensPerDay: amount,
    concurrentRequests: amount,
  },
  "must be an object of limits",
);

const nameMessage = `must be a text of 1 to ${keyNameCharsMax} characters, without line breaks`;
const weightMessage = `must be a number from ${keyWeightMin} to ${keyWeightMax}`;
const modelsMessage = `must be a list of 1 to ${keyModelsMax} model names; leave it out for all`;

export const keyRequestSchema = z.strictObject(
  {
    // Names are printed in terminals, where control characters are commands.
    name: z
      .string(nameMessage)
      .trim()
      .max(keyNameCharsMax, nameMessage)
      .regex(/^\P{Cc}+$/u, nameMessage),
    scopes: z
      .array(z.enum(scopes, `must be among ${scopes.join(", ")}`), "must be a list of scopes")
      .min(1, `must name at least one of ${scopes.join(", ")}`)
      .transform((list) => [...new Set(list)])
      .default(["chat", "fits", "usage"]),
    models: z
      .array(z.string(modelsMessage).min(1, modelsMessage).max(modelNameCharsMax, modelsMessage), modelsMessage)
      .min(1, modelsMessage)
      .max(keyModelsMax, modelsMessage)
      .optional(),
    expiresAt: timeSchema.optional(),
    limits: limitsSchema.optional(),
    userLimits: limitsSchema.optional(),
    weight: z.number(weightMessage).min(keyWeightMin, weightMessage).max(keyWeightMax, weightMessage).optional(),
    priority: z.enum(["interactive", "batch"], 'must be "interactive" or "batch"').optional(),
  },
  "must be a JSON object",
);

/** What a caller may see of a key: all but its hash, with times for people. */
export interface KeyView extends Omit<ApiKey, "createdAt" | "expiresAt" | "revokedAt"> {
  state: KeyState;
  createdAt: string;
  expiresAt?: string;
  revokedAt?: string;
}

export type KeyState = "active" | "expired" | "revoked";

export interface IssuedKey {
  key: ApiKey;
  /** Shown this once; only its hash is stored. */
  secret: string;
}

/** @throws AppError invalid_request naming the field at fault */
export async function issueKey(store: KeyStore, body: unknown, making: KeyMaking): Promise<IssuedKey> {
  const { name, scopes, models, expiresAt, limits, userLimits, weight, priority } = parseParameters(
    keyRequestSchema,
    body,
  );
  const createdAt = making.clock.now();
  if (expiresAt !== undefined && expiresAt <= createdAt) {
    throw new AppError("invalid_request", "expiresAt must lie in the future.", { param: "expiresAt" });
  }
  const secret = createSecret(making.randomBytes);
  const { hash, ...key } = await createKey(secret, {
    name,
    scopes,
    createdAt,
    ...(models === undefined ? {} : { models }),
    ...(expiresAt === undefined ? {} : { expiresAt }),
    ...(weight === undefined ? {} : { weight }),
    ...(priority === undefined ? {} : { priority }),
    ...withLimits("limits", limits),
    ...withLimits("userLimits", userLimits),
  });
  await store.insert({ ...key, hash });
  return { key, secret };
}

/** @throws AppError not_found */
export async function revokeKey(store: KeyStore, id: string, at: number): Promise<ApiKey> {
  const key = await store.revoke(id, at);
  if (key === undefined) {
    throw new AppError("not_found", `There is no key ${id.slice(0, 100)}; the list of keys shows their ids.`);
  }
  return key;
}

export function keyState(key: ApiKey, now: number): KeyState {
  if (key.revokedAt !== undefined) return "revoked";
  return key.expiresAt !== undefined && key.expiresAt <= now ? "expired" : "active";
}

export function viewKey(key: ApiKey, now: number): KeyView {
  const { createdAt, expiresAt, revokedAt, ...facts } = key;
  const time = (ms: number) => new Date(ms).toISOString();
  return {
    ...facts,
    state: keyState(key, now),
    createdAt: time(createdAt),
    ...(expiresAt === undefined ? {} : { expiresAt: time(expiresAt) }),
    ...(revokedAt === undefined ? {} : { revokedAt: time(revokedAt) }),
  };
}

/** An empty object is no limit at all. */
function withLimits(
  member: "limits" | "userLimits",
  limits: z.output<typeof limitsSchema> | undefined,
): { [Key in typeof member]?: QuotaLimits } {
  const set = Object.entries(limits ?? {}).filter(([, value]) => value !== undefined);
  return set.length === 0 ? {} : { [member]: Object.fromEntries(set) as QuotaLimits };
}
