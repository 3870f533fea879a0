/** Where engines dial in: GET /v1/link, upgraded to a WebSocket for keys with the scope "engine". */
import type { Context } from "hono";
import { createMiddleware } from "hono/factory";
import { AppError, toAppError } from "../core/errors.ts";
import { enginesMax } from "../core/limits.ts";
import type { Clock, EngineStore, KeyStore, Logger } from "../core/ports.ts";
import { linkProtocol } from "../http/link-frames.ts";
import type { AuthVariables } from "./auth.ts";
import type { Router } from "./router.ts";

/** `url` in the record of an engine that dials in, instead of an address. */
export const linkUrlMark = "link:";

/** Opens the connection where this runs, and hands it to whoever holds the links. */
export type LinkUpgrade = (context: Context, facts: { name: string; keyId: string }) => Response | Promise<Response>;

/** Reaches open connections, wherever they are held. */
export interface LinkControl {
  /** Closes the connection of an engine that was removed; it does not dial again by itself. */
  remove(name: string): Promise<void>;
  /** Looks now whether the keys of these engines are still good, and closes the connections of the others. */
  checkKeys(names: readonly string[]): Promise<void>;
}

/** The same store; connections by a key that is revoked there are closed at once. */
export function closeLinksOfRevoked(
  store: KeyStore,
  { links, engineStore, logger }: { links: LinkControl; engineStore: EngineStore; logger: Logger },
): KeyStore {
  return {
    ...store,
    async revoke(id, at) {
      const key = await store.revoke(id, at);
      if (key?.scopes.some((scope) => scope === "engine" || scope === "admin")) {
        const names = (await engineStore.list()).flatMap(({ name, url }) => (url === linkUrlMark ? [name] : []));
        // It is revoked; whoever holds a connection looks at its key within half a minute anyway.
        await links.checkKeys(names).catch((cause) => logger.warn("Links were not looked at.", { cause }));
      }
      return key;
    },
  };
}

interface LinkRouteOptions {
  router: Router;
  engineStore: EngineStore;
  clock: Clock;
  upgrade: LinkUpgrade;
}

const namePattern = /^[\w.-]{1,64}$/;

/** What is refused is told in headers too: few WebSocket clients show a body. */
export const tellRefusalInHeaders = createMiddleware(async (context, next) => {
  await next();
  if (context.error === undefined) return;
  const { code, message } = toAppError(context.error);
  context.header("x-snug-error", code);
  context.header("x-snug-error-message", encodeURIComponent(message));
});

/** For requests whose key was found good. */
export function createLinkRoute(options: LinkRouteOptions) {
  return async (context: Context<{ Variables: AuthVariables }>): Promise<Response> => {
    const name = readRequest(context);
    await record(name, options);
    return await options.upgrade(context, { name, keyId: context.get("key").id });
  };
}

/** @throws AppError invalid_request */
function readRequest(context: Context): string {
  if (context.req.header("upgrade")?.toLowerCase() !== "websocket") {
    throw new AppError("invalid_request", "Engines connect here by WebSocket; run `snug engine --connect`.");
  }
  const offered = (context.req.header("sec-websocket-protocol") ?? "").split(",").map((one) => one.trim());
  if (!offered.includes(linkProtocol)) {
    const message = `This API speaks ${linkProtocol}, the engine ${offered.join(", ").slice(0, 100) || "nothing known"}; bring both to the same version of Snug.`;
    throw new AppError("invalid_request", message, { param: "sec-websocket-protocol" });
  }
  const name = context.req.query("engine") ?? "";
  if (!namePattern.test(name)) {
    throw new AppError("invalid_request", "engine must be a name of 1 to 64 letters, digits, dots or dashes.", {
      param: "engine",
    });
  }
  return name;
}

/**
 * An engine that comes for the first time is registered like one an administrator names: listed while it is away,
 * weighed, set aside, removed.
 */
async function record(name: string, { router, engineStore, clock }: LinkRouteOptions): Promise<void> {
  const known = (await engineStore.list()).find((one) => one.name === name);
  if (known?.url === linkUrlMark) return;
  const members = await router.members();
  if (known !== undefined || members.some((member) => member.name === name)) {
    throw new AppError("invalid_request", `The name ${name} is taken by an engine with an address; choose another.`, {
      param: "engine",
    });
  }
  if (members.length >= enginesMax) {
    throw new AppError("invalid_request", `There are ${enginesMax} engines already; remove one first.`);
  }
  await engineStore.put({ name, url: linkUrlMark, weight: 1, draining: false, createdAt: clock.now() });
  await router.reload();
}
