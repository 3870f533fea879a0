/** The install page and where Slack sends people back to: OAuth 2 as plain functions from request to response. */
import * as z from "zod";
import type { Logger } from "../../core/ports.ts";
import { localeOfTag } from "../locale/locale.ts";
import type { BotLocale } from "../locale/texts.ts";
import type { SendCall } from "./calls.ts";
import { toPlatformError } from "./errors.ts";
import { type InstallStates, stateSecondsMax } from "./install-state.ts";
import { INSTALL_TEXTS } from "./install-texts.ts";
import type { Installation } from "./installations.ts";
import { botScopes } from "./manifest.ts";
import { identitySchema } from "./workspace.ts";

export const installPath = "/slack/install";
export const redirectPath = "/slack/oauth_redirect";

export interface InstallPagesOptions {
  clientId: string;
  clientSecret: string;
  states: InstallStates;
  /** Calls with a token, and without one for the exchange of the code. */
  callsOf: (token: string | undefined) => SendCall;
  /** Whether a workspace may use the bot. */
  admits: (teamId: string) => boolean;
  onInstalled: (installation: Installation) => Promise<void>;
  logger: Logger;
}

const authorizeUrl = "https://slack.com/oauth/v2/authorize";
/** The prefix keeps other hosts of the same domain from setting it. */
const cookieName = "__Host-snug-slack-state";

/** @returns undefined for requests that are none of the pages' */
export function createInstallPages(options: InstallPagesOptions): (request: Request) => Promise<Response | undefined> {
  return async (request) => {
    const { pathname } = new URL(request.url);
    if (request.method !== "GET") return undefined;
    if (pathname === installPath) return await installPage(request, options);
    if (pathname === redirectPath) return await comeBack(request, options);
    return undefined;
  };
}

async function installPage(request: Request, { clientId, states }: InstallPagesOptions): Promise<Response> {
  const state = await states.make();
  const url = new URL(authorizeUrl);
  url.searchParams.set("client_id", clientId);
  url.searchParams.set("scope", botScopes.join(","));
  url.searchParams.set("state", state);
  const locale = localeOf(request);
  const { intro, button } = INSTALL_TEXTS[locale];
  return page(200, locale, { text: intro, link: { href: url.href, text: button }, cookie: stateCookie(state) });
}

async function comeBack(request: Request, options: InstallPagesOptions): Promise<Response> {
  const { states, logger } = options;
  const { searchParams } = new URL(request.url);
  const locale = localeOf(request);
  const texts = INSTALL_TEXTS[locale];
  const again = { href: installPath, text: texts.again };
  const cookie = stateCookie("");
  if (!(await states.isValid(searchParams.get("state") ?? "", readCookie(request)))) {
    logger.warn("an installation was refused: its state is not this browser's, or too old");
    return page(400, locale, { text: texts.stale, link: again, cookie });
  }
  const code = searchParams.get("code");
  if (code === null || code === "") return page(200, locale, { text: texts.cancelled, link: again, cookie });
  try {
    const { refusal, team } = await install(code, options);
    if (refusal !== undefined) return page(403, locale, { text: texts[refusal], cookie });
    return page(200, locale, { text: texts.installed(team), cookie });
  } catch (thrown) {
    const { platformCode, message } = toPlatformError(thrown);
    logger.error("a workspace could not be installed", { platformCode, error: message });
    return page(502, locale, { text: texts.failed, link: again, cookie });
  }
}

const grantSchema = z.object({
  access_token: z.string().startsWith("xoxb-"),
  is_enterprise_install: z.boolean().nullish(),
  team: z.object({ id: z.string(), name: z.string().nullish() }).nullish(),
});

/** @throws ChatPlatformError, or ZodError for an answer that is none of Slack's */
async function install(
  code: string,
  { clientId, clientSecret, callsOf, admits, onInstalled, logger }: InstallPagesOptions,
): Promise<{ refusal?: "orgWide" | "notOpen"; team: string }> {
  const exchange = { client_id: clientId, client_secret: clientSecret, code };
  const grant = grantSchema.parse(await callsOf(undefined)("oauth.v2.access", exchange));
  const { access_token: botToken, team } = grant;
  if (grant.is_enterprise_install === true || team === null || team === undefined) {
    logger.warn("an installation into a whole organization was refused");
    return { refusal: "orgWide", team: "" };
  }
  if (!admits(team.id)) {
    logger.warn("an installation was refused: the workspace is not allowed", { teamId: team.id });
    return { refusal: "notOpen", team: "" };
  }
  const identity = identitySchema.parse(await callsOf(botToken)("auth.test", {}));
  if (identity.team_id !== team.id) throw new Error("Slack's token belongs to another workspace");
  await onInstalled({ botToken, identity });
  logger.info("a workspace installed the bot", { teamId: team.id, workspace: identity.team });
  return { team: team.name ?? identity.team };
}

function stateCookie(state: string): string {
  const seconds = state === "" ? 0 : stateSecondsMax;
  return `${cookieName}=${state}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=${seconds}`;
}

function readCookie(request: Request): string | undefined {
  const pairs = (request.headers.get("cookie") ?? "").split(/;\s*/);
  return pairs.find((pair) => pair.startsWith(`${cookieName}=`))?.slice(cookieName.length + 1);
}

function localeOf(request: Request): BotLocale {
  return localeOfTag((request.headers.get("accept-language") ?? "").split(/[,;]/)[0]!.trim());
}

function page(
  status: number,
  locale: BotLocale,
  { text, link, cookie }: { text: string; link?: { href: string; text: string }; cookie: string },
): Response {
  const title = escapeHtml(INSTALL_TEXTS[locale].title);
  const anchor = link === undefined ? "" : `<p><a href="${escapeHtml(link.href)}">${escapeHtml(link.text)}</a></p>`;
  const head = `<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${title}</title>`;
  const body = `<h1>${title}</h1><p>${escapeHtml(text)}</p>${anchor}`;
  return new Response(`<!doctype html><html lang="${locale}"><head>${head}</head><body>${body}</body></html>`, {
    status,
    headers: {
      "content-type": "text/html; charset=utf-8",
      "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
      "cache-control": "no-store",
      "referrer-policy": "no-referrer",
      "set-cookie": cookie,
    },
  });
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
