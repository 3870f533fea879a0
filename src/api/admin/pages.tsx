/** The admin page: its sections, behind a session; what they change stands in `change-routes.tsx`. */
import { type Context, Hono, type MiddlewareHandler } from "hono";
import { getCookie, setCookie } from "hono/cookie";
import { createMiddleware } from "hono/factory";
import { AppError, type Locale } from "../../core/errors.ts";
import type { BotStateStore, Clock, Logger, UsageStore } from "../../core/ports.ts";
import type { EngineDesk } from "../engines.ts";
import type { LiveRequests } from "../live-requests.ts";
import { exportUsage } from "../usage/report.ts";
import { type AssetReader, respondWithAsset } from "./assets.ts";
import { addEngineChanges, addKeyChanges, addRequestChanges } from "./change-routes.tsx";
import { EnginesPage } from "./engines.tsx";
import { formatsOf } from "./format.ts";
import { KeysPage } from "./keys.tsx";
import { MachinePanel } from "./machine.tsx";
import { DayTiles, Live, NowPage } from "./now.tsx";
import { readDay, readLive } from "./now-facts.ts";
import {
  type AdminContext,
  type AdminVariables,
  page,
  refuseStranger,
  respondToPageError,
  safePath,
  signedView,
} from "./replies.tsx";
import { createSessionDesk, isForeign, type SessionDependencies } from "./session.ts";
import { addSignIn } from "./sign-in-routes.tsx";
import { preferredLocale, texts } from "./texts.ts";
import { UsagePage } from "./usage.tsx";
import { readChoice, readUsageFacts } from "./usage-facts.ts";
import type { Theme, View } from "./view.ts";

export interface AdminDependencies extends SessionDependencies {
  usageStore: UsageStore;
  /** Thumbs under answers. */
  feedback: Pick<BotStateStore, "feedbackTotals">;
  live: LiveRequests;
  desk: EngineDesk;
  /** Requests waiting for any engine. */
  waiting: () => number;
  /** Left out where the runtime serves the files. */
  assets?: AssetReader;
  version: string;
  clock: Clock;
  logger: Logger;
}

const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join("; ");

const yearSeconds = 365 * 86_400;

export function createAdminPages(dependencies: AdminDependencies): Hono<{ Variables: AdminVariables }> {
  const { usageStore, keyStore, desk, live, logger } = dependencies;
  const sessions = createSessionDesk(dependencies);
  const liveFacts = () => readLive(dependencies);
  const admin = new Hono<{ Variables: AdminVariables }>();

  const signedIn = createMiddleware<{ Variables: AdminVariables }>(async (context, next) => {
    const session = await sessions.read(context);
    if (session === undefined) return refuseStranger(context);
    context.set("session", session);
    return await next();
  });
  /** Another site's page cannot know the token, so it cannot make this browser change anything. */
  const ownForm = createMiddleware<{ Variables: AdminVariables }>(async (context, next) => {
    const { formToken } = context.get("session");
    if (isForeign(context) || context.req.header("x-snug-form") !== formToken) {
      throw new AppError("permission_denied", context.get("view").t.foreignForm);
    }
    await next();
  });

  admin.use(async (context, next) => {
    context.set("view", viewOf(context, dependencies));
    await next();
    const { headers } = context.res;
    headers.set("content-security-policy", contentSecurityPolicy);
    headers.set("x-frame-options", "DENY");
    headers.set("cross-origin-opener-policy", "same-origin");
    headers.set("cross-origin-resource-policy", "same-origin");
    if (!headers.has("cache-control")) headers.set("cache-control", "no-store");
  });
  admin.onError((thrown, context) => respondToPageError(thrown, context as AdminContext, logger));

  admin.get("/static/:name", async (context) => {
    const asset = await dependencies.assets?.(context.req.param("name"));
    if (asset === undefined) throw new AppError("not_found", "There is no such file.");
    return respondWithAsset(asset, context.req.raw);
  });

  admin.get("/language", (context) => {
    const locale: Locale = context.req.query("to") === "zh" ? "zh" : "en";
    setCookie(context, "snug_language", locale, { path: "/admin", sameSite: "Lax", maxAge: yearSeconds });
    return context.redirect(safePath(context.req.query("back")), 303);
  });

  admin.get("/", signedIn, async (context) => {
    const view = signedView(context);
    const [facts, day] = await Promise.all([liveFacts(), readDay(usageStore, view.now)]);
    return page(context, <NowPage view={view} live={facts} day={day} />);
  });
  admin.get("/now/live", signedIn, async (context) =>
    context.html(<Live view={signedView(context)} live={await liveFacts()} />),
  );
  admin.get("/now/day", signedIn, async (context) => {
    const view = signedView(context);
    return context.html(<DayTiles view={view} day={await readDay(usageStore, view.now)} />);
  });
  admin.get("/usage", signedIn, async (context) => {
    const view = signedView(context);
    const choice = readChoice(context.req.query());
    const facts = await readUsageFacts(dependencies, choice, view.now);
    const example = facts.totals.requests > 0 ? undefined : await exampleOf(context, desk);
    return page(context, <UsagePage view={view} choice={choice} facts={facts} example={example} />);
  });
  admin.get("/export", signedIn, (context) => exportUsage(usageStore, context.get("session").key, context.req.query()));

  admin.get("/keys", signedIn, async (context) =>
    page(context, <KeysPage view={signedView(context)} keys={await keyStore.list()} />),
  );
  admin.get("/engines", signedIn, async (context) =>
    page(context, <EnginesPage view={signedView(context)} engines={await desk.list()} />),
  );
  admin.get("/engines/:name/machine", signedIn, async (context) =>
    context.html(<MachinePanel view={signedView(context)} report={await desk.monitoring(context.req.param("name"))} />),
  );
  const guards: [MiddlewareHandler, MiddlewareHandler] = [signedIn, ownForm];
  addSignIn(admin, { sessions, signedIn, logger });
  addRequestChanges(admin, guards, live);
  addKeyChanges(admin, guards, dependencies);
  addEngineChanges(admin, guards, desk);
  return admin;
}

function viewOf(context: Context, { version, clock }: AdminDependencies): View {
  const chosen = getCookie(context, "snug_language");
  const locale = chosen === "en" || chosen === "zh" ? chosen : preferredLocale(context.req.header("accept-language"));
  const colours = getCookie(context, "snug_theme");
  const theme: Theme = colours === "light" || colours === "dark" ? colours : "auto";
  const { pathname, search } = new URL(context.req.url);
  const here = context.req.method === "GET" ? `${pathname}${search}` : "/admin";
  return { locale, t: texts[locale], f: formatsOf(locale), theme, here, version, now: clock.now() };
}

/** A question for an empty ledger, with an address and a model of this server. */
async function exampleOf(context: Context, desk: EngineDesk): Promise<string> {
  const { origin } = new URL(context.req.url);
  const models = (await desk.list()).flatMap((engine) => engine.models);
  const model = (models.find(({ loaded }) => loaded) ?? models[0])?.id ?? "MODEL";
  const body = JSON.stringify({ model, messages: [{ role: "user", content: "Hello" }] });
  return `curl ${origin}/v1/chat/completions -H "authorization: Bearer $KEY" -H "content-type: application/json" -d '${body}'`;
}
