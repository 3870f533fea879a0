/** The facts of `snug doctor` that follow from the settings: ports, tokens, and who can be reached. Tokens are never shown. */
import { createServer } from "node:net";
import type { PlaceFacts, PortFacts, TokenFacts } from "../core/doctor/facts.ts";
import { reachMsMax } from "../core/limits.ts";
import { slackPortDefault } from "./slack-settings.ts";

type Environment = Record<string, string | undefined>;

/** What each secret looks like, by the platforms' own rules. */
const forms: Record<string, { pattern: RegExp; expected: string }> = {
  // The first part is the bot's id in base 64.
  DISCORD_TOKEN: { pattern: /^[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{25,}$/, expected: "MTIz….….…" },
  DISCORD_PUBLIC_KEY: { pattern: /^[0-9a-f]{64}$/i, expected: "64 × 0-9a-f" },
  SLACK_BOT_TOKEN: { pattern: /^xoxb-[\w-]{10,}$/, expected: "xoxb-…" },
  SLACK_APP_TOKEN: { pattern: /^xapp-[\w-]{10,}$/, expected: "xapp-…" },
  SLACK_SIGNING_SECRET: { pattern: /^[0-9a-f]{32}$/i, expected: "32 × 0-9a-f" },
  SNUG_ADMIN_KEY: { pattern: /^[\x21-\x7e]{16,200}$/, expected: "16 … 200" },
  SNUG_ENGINE_TOKEN: { pattern: /^[\x21-\x7e]{16,}$/, expected: "16 …" },
  HF_TOKEN: { pattern: /^hf_[A-Za-z0-9]{10,}$/, expected: "hf_…" },
};

/** Only those that are set. */
export function checkTokens(environment: Environment): TokenFacts[] {
  const tokens = Object.entries(forms).flatMap(([setting, { pattern, expected }]): TokenFacts[] => {
    const value = environment[setting];
    if (value === undefined || value === "") return [];
    return [{ setting, form: formOf(value, pattern), expected }];
  });
  const bot = tokens.find(({ setting }) => setting === "SLACK_BOT_TOKEN");
  const listens = tokens.some(({ setting }) => setting === "SLACK_APP_TOKEN" || setting === "SLACK_SIGNING_SECRET");
  if (bot?.form === "sound" && !listens) {
    bot.form = "incomplete";
    bot.expected = "SLACK_APP_TOKEN / SLACK_SIGNING_SECRET";
  }
  return tokens;
}

function formOf(value: string, pattern: RegExp): TokenFacts["form"] {
  if (/\s/.test(value)) return "spaces";
  if (/["'“”]/.test(value)) return "quotes";
  return pattern.test(value) ? "sound" : "malformed";
}

export interface Place {
  place: PlaceFacts["place"];
  url: string;
  needed: boolean;
}

/** The places Snug talks to, with proxies and stand-ins as the settings name them. */
export function placesOf(environment: Environment, api: { host: string; port: number }): Place[] {
  const host = /^(0\.0\.0\.0|::)$/.test(api.host) ? "127.0.0.1" : api.host.includes(":") ? `[${api.host}]` : api.host;
  const root = (url: string | undefined, usual: string) => (url || usual).replace(/\/+$/, "");
  return [
    { place: "api", url: `http://${host}:${api.port}/health`, needed: true },
    {
      place: "discord",
      url: `${root(environment.DISCORD_API_URL, "https://discord.com/api")}/v10/gateway`,
      needed: isSet(environment.DISCORD_TOKEN),
    },
    {
      place: "slack",
      url: `${root(environment.SLACK_API_URL, "https://slack.com/api")}/api.test`,
      needed: isSet(environment.SLACK_BOT_TOKEN) || isSet(environment.SLACK_CLIENT_ID),
    },
  ];
}

function isSet(value: string | undefined): boolean {
  return value !== undefined && value !== "";
}

export interface Reached {
  places: PlaceFacts[];
  clockAheadMs?: number;
}

/** Asks all at once, each for a few seconds at most; their `Date` tells what time it is elsewhere. */
export async function reach(places: readonly Place[], send: typeof fetch = fetch): Promise<Reached> {
  const answers = await Promise.all(places.map((place) => reachOne(place, send)));
  // This machine's own API shares its clock.
  const elsewhere = answers.filter(({ facts }) => facts.place !== "api");
  const aheads = elsewhere.flatMap(({ aheadMs }) => (aheadMs === undefined ? [] : [aheadMs]));
  const least = aheads.sort((left, right) => Math.abs(left) - Math.abs(right))[0];
  return { places: answers.map(({ facts }) => facts), ...(least === undefined ? {} : { clockAheadMs: least }) };
}

async function reachOne(
  { place, url, needed }: Place,
  send: typeof fetch,
): Promise<{ facts: PlaceFacts; aheadMs?: number }> {
  const startedAt = performance.now();
  try {
    const reply = await send(url, { signal: AbortSignal.timeout(reachMsMax), redirect: "manual" });
    const tookMs = Math.round(performance.now() - startedAt);
    if (place === "api" && !(await isSnug(reply))) throw new Error("another program answers");
    if (!reply.bodyUsed) await reply.body?.cancel();
    const date = Date.parse(reply.headers.get("date") ?? "");
    const facts: PlaceFacts = { place, url, needed, reached: true, tookMs };
    // Half of the way there and back; the header knows whole seconds.
    return Number.isNaN(date) ? { facts } : { facts, aheadMs: Date.now() - tookMs / 2 - date - 500 };
  } catch (thrown) {
    return { facts: { place, url, needed, reached: false, reason: reasonOf(thrown) } };
  }
}

/** Our health says our version and how the engine is. */
async function isSnug(reply: Response): Promise<boolean> {
  const told: unknown = await reply.json().catch(() => undefined);
  return typeof told === "object" && told !== null && "version" in told && "engine" in told;
}

function reasonOf(thrown: unknown): string {
  if (thrown instanceof Error && thrown.name === "TimeoutError") return `${reachMsMax / 1000} s`;
  const cause = thrown instanceof Error ? thrown.cause : undefined;
  if (typeof cause === "object" && cause !== null && "code" in cause && typeof cause.code === "string")
    return cause.code;
  return thrown instanceof Error ? thrown.message.slice(0, 100) : "?";
}

/** Where Slack's own requests are taken; undefined in Socket Mode, which needs no port. */
export function slackPort(environment: Environment): { host: string; port: number } | undefined {
  const { SLACK_BOT_TOKEN, SLACK_CLIENT_ID, SLACK_APP_TOKEN } = environment;
  const { SLACK_SIGNING_SECRET, SLACK_HOST, SLACK_PORT } = environment;
  if (!(isSet(SLACK_BOT_TOKEN) || isSet(SLACK_CLIENT_ID)) || isSet(SLACK_APP_TOKEN) || !isSet(SLACK_SIGNING_SECRET))
    return undefined;
  const port = Number(SLACK_PORT || slackPortDefault);
  return Number.isInteger(port) && port > 0 && port < 65_536 ? { host: SLACK_HOST || "127.0.0.1", port } : undefined;
}

/** @param isOurs whether what listens there is Snug */
export async function checkPort(
  { setting, host, port }: { setting: string; host: string; port: number },
  isOurs: boolean,
): Promise<PortFacts> {
  const state = await new Promise<PortFacts["state"]>((resolve) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EACCES") resolve("forbidden");
      else resolve(isOurs ? "snug" : "taken");
    });
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve("free")));
  });
  return { setting, port, state };
}
