/** API keys: made, hashed, and asked for at the door. Only hashes are stored and compared. */
import { createMiddleware } from "hono/factory";
import { AppError } from "../core/errors.ts";
import { apiKeyBytes, apiKeyCharsMax, apiKeyCharsMin } from "../core/limits.ts";
import type { ApiKey, Clock, KeyScope, KeyStore } from "../core/ports.ts";
import type { AddressLimit } from "./address-limit.ts";
import type { RecentKeys } from "./recent-keys.ts";

/** What the routes behind a key find in their context. */
export interface AuthVariables {
  key: ApiKey;
}

export interface KeyMaking {
  clock: Clock;
  /** Unguessable bytes (`crypto.getRandomValues`). */
  randomBytes: (count: number) => Uint8Array;
}

/** A new secret: 256 bits, recognizable by scanners for leaked keys. */
export function createSecret(randomBytes: KeyMaking["randomBytes"]): string {
  const base64 = btoa(String.fromCharCode(...randomBytes(apiKeyBytes)));
  return `sk-snug-${base64.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`;
}

/** SHA-256 in hex. Secrets have 256 bits of chance, so a slow hash would add nothing but time per request. */
export async function hashSecret(secret: string): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(secret)));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The key of a secret, without the secret. */
export async function createKey(
  secret: string,
  facts: Omit<ApiKey, "id" | "fingerprint" | "revokedAt">,
): Promise<ApiKey & { hash: string }> {
  const hash = await hashSecret(secret);
  const fingerprint = hash.slice(0, 12);
  return { id: `key-${fingerprint}`, ...facts, fingerprint, hash };
}

/**
 * Makes sure that somebody can come in: stores the configured admin key if it is new, or makes one when there is no
 * key at all.
 *
 * @returns the secret when one was made; it can be shown this once and never again
 */
export async function ensureAdminKey(
  store: KeyStore,
  configured: string | undefined,
  { clock, randomBytes }: KeyMaking,
): Promise<string | undefined> {
  if (configured === undefined && (await store.count()) > 0) return undefined;
  const secret = configured ?? createSecret(randomBytes);
  const key = await createAdminKey(secret, clock.now());
  if ((await store.findByHash(key.hash)) === undefined) await store.insert(key);
  return configured === undefined ? secret : undefined;
}

/** The configured admin key in front of a store, for places where the secret lives in the settings alone. */
export function withAdminSecret(store: KeyStore, secret: string): KeyStore {
  let configured: ReturnType<typeof createAdminKey> | undefined;
  const read = async () => {
    configured ??= createAdminKey(secret, 0);
    return await configured;
  };
  return {
    ...store,
    async findByHash(hash) {
      const { hash: configuredHash, ...key } = await read();
      return hash === configuredHash ? key : store.findByHash(hash);
    },
    async find(id) {
      const { hash: _, ...key } = await read();
      return id === key.id ? key : store.find(id);
    },
  };
}

export interface Door {
  keyStore: KeyStore;
  clock: Clock;
  /** Bounds wrong keys; left out where somebody else does. */
  guesses?: AddressLimit;
  /** Keys seen a moment ago; left out: each is looked up. */
  recent?: RecentKeys;
}

/** Lets a request pass whose bearer key has the scope; `admin` has them all. Leaves no trace of those it turns away. */
export function requireScope(door: Door, ...scopes: KeyScope[]) {
  return createMiddleware<{ Variables: AuthVariables }>(async (context, next) => {
    door.guesses?.check(context, "Too many requests with a wrong API key came from this address; wait a little.");
    const key = await findKey(door, context.req.header("authorization"));
    if (key === undefined) {
      door.guesses?.spend(context);
      throw keyRefused();
    }
    if (!hasScope(key, ...scopes)) {
      throw new AppError("permission_denied", `This API key lacks the scope ${scopes.join(" or ")}.`);
    }
    context.set("key", key);
    await next();
  });
}

export function hasScope(key: ApiKey, ...scopes: KeyScope[]): boolean {
  return key.scopes.some((scope) => scope === "admin" || scopes.includes(scope));
}

/** The key that a request shows, if it is still good. */
export async function findKey(
  { keyStore, clock, recent }: Pick<Door, "keyStore" | "clock" | "recent">,
  header: string | undefined,
): Promise<ApiKey | undefined> {
  const secret = header?.match(/^Bearer +(\S+)$/i)?.[1];
  if (secret === undefined || secret.length > apiKeyCharsMax) return undefined;
  const find = async () => keyStore.findByHash(await hashSecret(secret));
  const key = recent === undefined ? await find() : await recent.find(secret, find);
  return key !== undefined && isGood(key, clock.now()) ? key : undefined;
}

/** Neither revoked nor expired. */
export function isGood(key: ApiKey, now: number): boolean {
  return key.revokedAt === undefined && (key.expiresAt === undefined || key.expiresAt > now);
}

async function createAdminKey(secret: string, createdAt: number): Promise<ApiKey & { hash: string }> {
  if (secret.length < apiKeyCharsMin || secret.length > apiKeyCharsMax || /[^\x21-\x7e]/.test(secret)) {
    throw new AppError(
      "invalid_configuration",
      `The admin key must be ${apiKeyCharsMin} to ${apiKeyCharsMax} printable characters without spaces.`,
    );
  }
  return createKey(secret, { name: "admin", scopes: ["admin"], createdAt });
}

/** One answer for missing, malformed, unknown, expired and revoked keys, so that it teaches a guesser nothing. */
function keyRefused(): AppError {
  return new AppError(
    "invalid_api_key",
    "The API key is missing or not accepted; send yours as 'Authorization: Bearer <key>'.",
  );
}
