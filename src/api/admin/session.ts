/**
 * Signed in at the admin page. The browser holds 256 bits of chance and the ledger their hash, so that neither a look
 * into the database nor a lost key lets anybody in for longer than the key itself does: revoking it ends its sessions.
 */
import type { Context } from "hono";
import { deleteCookie, getCookie, setCookie } from "hono/cookie";
import { AppError } from "../../core/errors.ts";
import { adminSessionMs } from "../../core/limits.ts";
import type { ApiKey, SessionStore } from "../../core/ports.ts";
import { createSecret, type Door, findKey, hashSecret, hasScope, isGood, type KeyMaking } from "../auth.ts";

export interface Session {
  key: ApiKey;
  /** Comes with every change, so that another page cannot make the browser ask for one. */
  formToken: string;
}

export interface SessionDesk {
  /** @throws AppError rate_limit_exceeded, invalid_api_key or permission_denied */
  signIn(context: Context, secret: string): Promise<void>;
  /** Undefined without a cookie, after its time, and once its key is no longer good. */
  read(context: Context): Promise<Session | undefined>;
  signOut(context: Context): Promise<void>;
}

export interface SessionDependencies extends Door, KeyMaking {
  sessionStore: SessionStore;
}

const cookieName = "snug_admin";
const cookiePath = "/admin";

export function createSessionDesk(dependencies: SessionDependencies): SessionDesk {
  const { keyStore, sessionStore, clock, guesses, randomBytes } = dependencies;
  return {
    async signIn(context, secret) {
      guesses?.check(context, "Too many wrong keys came from this address; wait a little.");
      const key = await findKey({ keyStore, clock }, `Bearer ${secret}`);
      if (key === undefined) {
        guesses?.spend(context);
        throw new AppError("invalid_api_key", "This key is not accepted.");
      }
      if (!hasScope(key, "admin")) throw new AppError("permission_denied", "This key lacks the scope admin.");
      const token = createSecret(randomBytes).replace(/^sk-/, "session-");
      const now = clock.now();
      await sessionStore.open({ hash: await hashSecret(token), keyId: key.id, expiresAt: now + adminSessionMs }, now);
      setCookie(context, cookieName, token, {
        path: cookiePath,
        httpOnly: true,
        sameSite: "Strict",
        secure: isSecure(context),
        maxAge: adminSessionMs / 1000,
      });
    },

    async read(context) {
      const token = getCookie(context, cookieName);
      if (token === undefined || token.length > 100) return undefined;
      const session = await sessionStore.find(await hashSecret(token));
      if (session === undefined || session.expiresAt <= clock.now()) return undefined;
      const key = await keyStore.find(session.keyId);
      if (key === undefined || !isGood(key, clock.now()) || !hasScope(key, "admin")) return undefined;
      return { key, formToken: (await hashSecret(`form ${token}`)).slice(0, 32) };
    },

    async signOut(context) {
      const token = getCookie(context, cookieName);
      if (token !== undefined) await sessionStore.close(await hashSecret(token));
      deleteCookie(context, cookieName, { path: cookiePath });
    },
  };
}

/**
 * Whether the browser came by https, here or at a proxy in front. A client that lies about it makes its own cookie
 * useless and nobody else's.
 */
function isSecure(context: Context): boolean {
  return new URL(context.req.url).protocol === "https:" || context.req.header("x-forwarded-proto") === "https";
}

/** Browsers say of themselves when another site's page sends the request. */
export function isForeign(context: Context): boolean {
  const site = context.req.header("sec-fetch-site");
  return site !== undefined && site !== "same-origin" && site !== "none";
}
