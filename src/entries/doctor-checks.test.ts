import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { checkPort, checkTokens, placesOf, reach, slackPort } from "./doctor-checks.ts";

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await new Promise((resolve) => server.close(resolve));
});

async function serve(body: object, date?: Date): Promise<{ url: string; port: number }> {
  const server = createServer((_request, reply) => {
    if (date !== undefined) reply.setHeader("date", date.toUTCString());
    reply.setHeader("content-type", "application/json").end(JSON.stringify(body));
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/`, port };
}

const discord = `${"a".repeat(26)}.${"b".repeat(6)}.${"c".repeat(38)}`;

describe("tokens", () => {
  it("are judged by their form alone, and are never in the answer", () => {
    const secrets = {
      DISCORD_TOKEN: discord,
      SLACK_BOT_TOKEN: "xoxb-1234567890-abcdef",
      SLACK_APP_TOKEN: "xoxb-1234567890-abcdef",
      SLACK_SIGNING_SECRET: " 0123456789abcdef0123456789abcdef",
      HF_TOKEN: '"hf_abcdefghijkl"',
      SNUG_ADMIN_KEY: "",
    };
    const facts = checkTokens(secrets);
    expect(Object.fromEntries(facts.map(({ setting, form }) => [setting, form]))).toEqual({
      DISCORD_TOKEN: "sound",
      SLACK_BOT_TOKEN: "sound",
      SLACK_APP_TOKEN: "malformed",
      SLACK_SIGNING_SECRET: "spaces",
      HF_TOKEN: "quotes",
    });
    const told = JSON.stringify(facts);
    for (const secret of Object.values(secrets)) if (secret !== "") expect(told).not.toContain(secret.trim());
  });

  it("of Slack need a second one to receive anything", () => {
    expect(checkTokens({ SLACK_BOT_TOKEN: "xoxb-1234567890-abcdef" })).toMatchObject([{ form: "incomplete" }]);
  });
});

describe("places", () => {
  it("follow the settings, and say whether anything needs them", () => {
    const places = placesOf({ DISCORD_TOKEN: discord, SLACK_API_URL: "http://stand-in/api/" }, { host: "::", port: 1 });
    expect(places).toEqual([
      { place: "api", url: "http://127.0.0.1:1/health", needed: true },
      { place: "discord", url: "https://discord.com/api/v10/gateway", needed: true },
      { place: "slack", url: "http://stand-in/api/api.test", needed: false },
    ]);
  });

  it("that answer tell the time, and this machine's own API does not count for it", async () => {
    const hourAgo = new Date(Date.now() - 3_600_000);
    const api = await serve({ version: "1", engine: {} }, new Date(0));
    const slack = await serve({ ok: true }, hourAgo);
    const { places, clockAheadMs } = await reach([
      { place: "api", url: api.url, needed: true },
      { place: "slack", url: slack.url, needed: false },
    ]);
    expect(places).toMatchObject([{ reached: true }, { reached: true, tookMs: expect.any(Number) }]);
    expect(Math.abs(clockAheadMs! - 3_600_000)).toBeLessThan(60_000);
  });

  it("that are not there are told with the reason; another program at the API's port is not the API", async () => {
    const { url, port } = await serve({ hello: "world" });
    const other = servers.pop()!;
    const stranger = await reach([{ place: "api", url, needed: true }]);
    expect(stranger.places).toMatchObject([{ reached: false, reason: "another program answers" }]);
    await new Promise((resolve) => other.close(resolve));
    const gone = await reach([{ place: "discord", url: `http://127.0.0.1:${port}/`, needed: true }]);
    expect(gone).toMatchObject({ places: [{ reached: false, reason: "ECONNREFUSED" }] });
    expect(gone.clockAheadMs).toBeUndefined();
  });
});

describe("a port", () => {
  it("is Slack's where Slack sends requests, and nobody's in Socket Mode", () => {
    const http = { SLACK_BOT_TOKEN: "xoxb-1", SLACK_SIGNING_SECRET: "0f" };
    expect(slackPort(http)).toEqual({ host: "127.0.0.1", port: 3000 });
    expect(slackPort({ ...http, SLACK_HOST: "0.0.0.0", SLACK_PORT: "4000" })).toEqual({ host: "0.0.0.0", port: 4000 });
    expect(slackPort({ ...http, SLACK_APP_TOKEN: "xapp-1" })).toBeUndefined();
    expect(slackPort({ ...http, SLACK_PORT: "many" })).toBeUndefined();
    expect(slackPort({})).toBeUndefined();
    expect(slackPort({ SLACK_CLIENT_ID: "1.2", SLACK_SIGNING_SECRET: "s" })).toEqual({ host: "127.0.0.1", port: 3000 });
  });

  it("is free, Snug's own or somebody else's", async () => {
    const { port } = await serve({});
    const ask = (isOurs: boolean) => checkPort({ setting: "PORT", host: "127.0.0.1", port }, isOurs);
    expect(await ask(false)).toEqual({ setting: "PORT", port, state: "taken" });
    expect(await ask(true)).toMatchObject({ state: "snug" });
    const server = servers.pop()!;
    await new Promise((resolve) => server.close(resolve));
    expect(await ask(false)).toMatchObject({ state: "free" });
  });
});
