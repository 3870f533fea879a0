/** The admin page: every address of it on one screen. Behind a session, and changes only by forms of its own. */
import { type Context, Hono } from "hono";
import { getCookie, setCookie } from "hono/cookie";
import { createMiddleware } from "hono/factory";
import { AppError, type Locale, renderChatError, toAppError } from "../../core/errors.ts";
import type { BotStateStore, Clock, Logger, UsageStore } from "../../core/ports.ts";
import type { EngineDesk } from "../engines.ts";
import { issueKey, revokeKey } from "../keys.ts";
import type { LiveRequests } from "../live-requests.ts";
import { exportUsage } from "../usage/report.ts";
import { type AssetReader, respondWithAsset } from "./assets.ts";
import { EngineList, EnginesPage } from "./engines.tsx";
import { type FormName, fieldSentence } from "./field-sentence.ts";
import { amount, engineBody, field, keyBody, readForm } from "./form.ts";
import { formatsOf } from "./format.ts";
import { KeyList, KeysPage, SecretPanel } from "./keys.tsx";
import { Notice } from "./layout.tsx";
import { MachinePanel } from "./machine.tsx";
import { DayTiles, Live, NowPage } from "./now.tsx";
import { readDay, readLive } from "./now-facts.ts";
import { createSessionDesk, isForeign, type Session, type SessionDependencies } from "./session.ts";
import { SignInPage } from "./sign-in.tsx";
import { preferredLocale, texts } from "./texts.ts";
import { UsagePage } from "./usage.tsx";
import { readChoice, readUsageFacts } from "./usage-facts.ts";
import type { SignedView, Theme, View } from "./view.ts";

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

interface Variables {
  view: View;
  session: Session;
}
type AdminContext = Context<{ Variables: Variables }>;

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

export function createAdminPages(dependencies: AdminDependencies): Hono<{ Variables: Variables }> {
  const { usageStore, keyStore, desk, live, clock, logger } = dependencies;
  const sessions = createSessionDesk(dependencies);
  const liveFacts = () => readLive(dependencies);
  const admin = new Hono<{ Variables: Variables }>();

  const signedIn = createMiddleware<{ Variables: Variables }>(async (context, next) => {
    const session = await sessions.read(context);
    if (session === undefined) return refuseStranger(context);
    context.set("session", session);
    return await next();
  });
  /** Another site's page cannot know the token, so it cannot make this browser change anything. */
  const ownForm = createMiddleware<{ Variables: Variables }>(async (context, next) => {
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

  admin.post("/sign-in", async (context) => {
    const form = await readForm(context.req.raw);
    const back = safePath(form.get("back") ?? undefined);
    const { t } = context.get("view");
    const again = (problem: string, status: 400 | 401 | 403 | 429) =>
      page(context, <SignInPage view={context.get("view")} problem={problem} back={back} />, status);
    if (isForeign(context)) return again(t.foreignForm, 403);
    const secret = field(form, "key");
    if (secret === undefined) return again(t.signInEmpty, 400);
    try {
      await sessions.signIn(context, secret);
    } catch (thrown) {
      const error = toAppError(thrown);
      if (error.code === "invalid_api_key") return again(t.signInWrong, 401);
      if (error.code === "permission_denied") return again(t.signInScope, 403);
      if (error.code !== "rate_limit_exceeded") throw error;
      const seconds = Math.max(1, Math.ceil((error.retryAfterMs ?? 0) / 1000));
      context.header("retry-after", String(seconds));
      return again(t.tooManyGuesses(seconds), 429);
    }
    logger.info("Somebody signed in to the admin page.");
    return context.redirect(back, 303);
  });

  admin.post("/sign-out", signedIn, async (context) => {
    const form = await readForm(context.req.raw);
    if (isForeign(context) || form.get("form") !== context.get("session").formToken) {
      throw new AppError("permission_denied", context.get("view").t.foreignForm);
    }
    await sessions.signOut(context);
    return context.redirect("/admin", 303);
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
  admin.post("/requests/:id/cancel", signedIn, ownForm, (context) => {
    const { t } = context.get("view");
    orSay(() => live.cancel(context.req.param("id")), t.requestGone);
    context.header("hx-trigger", "snug-refresh");
    return context.html(<Notice tone="good" text={t.cancelled} />);
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
  admin.post("/keys", signedIn, ownForm, async (context) => {
    const body = keyBody(await readForm(context.req.raw));
    const made = await inForm("key-form", context, () => issueKey(keyStore, body, dependencies));
    if (made instanceof Response) return made;
    const view = signedView(context);
    return context.html(
      <>
        <SecretPanel view={view} name={made.key.name} secret={made.secret} />
        <KeyList view={view} keys={await keyStore.list()} fresh />
      </>,
    );
  });
  admin.post("/keys/:id/revoke", signedIn, ownForm, async (context) => {
    const view = signedView(context);
    const id = context.req.param("id");
    if (id === view.session.key.id) throw new AppError("invalid_request", view.t.ownRevoke);
    const key = await revokeKey(keyStore, id, clock.now()).catch((thrown) => {
      throw said(thrown, view.t.keyGone);
    });
    return context.html(
      <>
        <Notice tone="good" text={view.t.revoked(key.name)} />
        <KeyList view={view} keys={await keyStore.list()} fresh />
      </>,
    );
  });

  admin.get("/engines", signedIn, async (context) =>
    page(context, <EnginesPage view={signedView(context)} engines={await desk.list()} />),
  );
  admin.get("/engines/:name/machine", signedIn, async (context) =>
    context.html(<MachinePanel view={signedView(context)} report={await desk.monitoring(context.req.param("name"))} />),
  );
  const engineChanged = async (context: AdminContext, text: string) => {
    const view = signedView(context);
    return context.html(
      <>
        <Notice tone="good" text={text} />
        <EngineList view={view} engines={await desk.list()} fresh />
      </>,
    );
  };
  admin.post("/engines", signedIn, ownForm, async (context) => {
    const body = engineBody(await readForm(context.req.raw));
    const engine = await inForm("engine-form", context, () => desk.add(body));
    return engine instanceof Response ? engine : engineChanged(context, context.get("view").t.registered(engine.name));
  });
  admin.post("/engines/:name/:change{drain|resume|weight|remove}", signedIn, ownForm, async (context) => {
    const { t } = context.get("view");
    const { name, change } = context.req.param();
    const text = { drain: t.drained, resume: t.resumed, weight: t.weightDone, remove: t.removed }[change as "drain"];
    try {
      if (change === "remove") await desk.remove(name);
      else if (change === "weight")
        await desk.change(name, { weight: amount(await readForm(context.req.raw), "weight") });
      else await desk.change(name, { draining: change === "drain" });
    } catch (thrown) {
      const error = toAppError(thrown);
      if (error.param === "weight") throw said(error, t.fieldWrong(t.weight, t.weightHint));
      throw said(error, error.code === "not_found" ? t.engineGone : t.engineFixed);
    }
    return engineChanged(context, text(name));
  });
  return admin;
}

/** A question for an empty ledger, with an address and a model of this server. */
async function exampleOf(context: Context, desk: EngineDesk): Promise<string> {
  const { origin } = new URL(context.req.url);
  const models = (await desk.list()).flatMap((engine) => engine.models);
  const model = (models.find(({ loaded }) => loaded) ?? models[0])?.id ?? "MODEL";
  const body = JSON.stringify({ model, messages: [{ role: "user", content: "Hello" }] });
  return `curl ${origin}/v1/chat/completions -H "authorization: Bearer $KEY" -H "content-type: application/json" -d '${body}'`;
}

/** Runs a form's deed; what is wrong with a field is said in the form, and the field is marked. */
async function inForm<T>(id: FormName, context: AdminContext, deed: () => Promise<T>): Promise<T | Response> {
  try {
    return await deed();
  } catch (thrown) {
    const error = toAppError(thrown);
    if (error.status >= 500) throw error;
    context.header("hx-retarget", `#${id}-error`);
    context.header("hx-reswap", "innerHTML");
    context.header("hx-trigger", JSON.stringify({ "snug-field": { form: id, name: error.param ?? "" } }));
    return context.text(fieldSentence(id, error, context.get("view")), 400);
  }
}

/** The same error with the page's own sentence, unless it is one of ours or of the database. */
function said(thrown: unknown, sentence: string): AppError {
  const error = toAppError(thrown);
  return error.status >= 500 ? error : new AppError(error.code, sentence, { cause: error });
}

function orSay(deed: () => unknown, sentence: string): void {
  try {
    deed();
  } catch (thrown) {
    throw said(thrown, sentence);
  }
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

function signedView(context: AdminContext): SignedView {
  return { ...context.get("view"), session: context.get("session") };
}

function page(context: AdminContext, content: { toString(): string }, status: 200 | 400 | 401 | 403 | 429 = 200) {
  return context.html(`<!doctype html>${content}`, status);
}

/** Never an address elsewhere. */
function safePath(path: string | undefined): string {
  return path !== undefined && !path.includes("..") && /^\/admin(?:[/?][\w\-./?=&%]*)?$/.test(path) ? path : "/admin";
}

/** A part of a page that has lost its session sends the whole page to sign in. */
function refuseStranger(context: AdminContext): Response | Promise<Response> {
  const view = context.get("view");
  if (context.req.header("hx-request") !== undefined) {
    return context.text(view.t.signedOut, 401, { "hx-redirect": "/admin" });
  }
  return page(context, <SignInPage view={view} back={safePath(view.here)} />, 401);
}

function respondToPageError(thrown: unknown, context: AdminContext, logger: Logger): Response | Promise<Response> {
  const error = toAppError(thrown);
  if (error.status >= 500) logger.error(error.message, { code: error.code, cause: error.cause ?? error });
  const view = context.get("view");
  const sentence = error.status >= 500 ? renderChatError(error, view.locale) : error.message;
  if (context.req.header("hx-request") === undefined) return context.text(sentence, error.status);
  // Parts that refresh themselves must not grow a notice with each try.
  context.header("hx-retarget", "#notices");
  context.header("hx-reswap", context.req.method === "GET" ? "innerHTML" : "beforeend");
  return context.html(<Notice tone="bad" text={sentence} />, error.status);
}
