/**
 * What the chat bots on Workers cost until Discord or Slack has its answer: CPU time of real workerd for each kind of
 * request. The runtime's whole process is measured, with the local stand-ins of D1 and of an object's storage in it, so
 * the figures are upper bounds of what an isolate is billed. The cost of a request answered 404 is taken off.
 *
 * CPU time is read from the kernel (/proc/PID/task/TID/schedstat), as workerd's own clocks stand still while it computes.
 * Linux only. Prints a table, writes bench/results/edge-bots.json. Run: npx tsx bench/edge-bots.ts
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { DiscordStandIn } from "../test/support/discord/stand-in.ts";
import { startEdgeBots } from "../test/support/edge-worker.ts";
import { serveEngine } from "../test/support/engine-server.ts";
import { FakeEngine } from "../test/support/fake-engine.ts";
import { SlackStandIn } from "../test/support/slack/stand-in.ts";

const rounds = 100;
const folder = mkdtempSync(join(tmpdir(), "edge-bots-"));
const engine = await serveEngine(new FakeEngine());
const discord = await DiscordStandIn.start();
const slack = await SlackStandIn.start();
const bots = await startEdgeBots({
  folder,
  adminKey: "admin-key-of-the-benchmark",
  engineUrl: engine.url,
  bindings: {
    DISCORD_TOKEN: discord.token,
    DISCORD_PUBLIC_KEY: discord.publicKey,
    DISCORD_API_URL: discord.apiUrl,
    SLACK_BOT_TOKEN: slack.botToken,
    SLACK_SIGNING_SECRET: slack.signingSecret,
    SLACK_API_URL: slack.apiUrl,
  },
});

/** The workerd that this process started. */
function workerdPid(): number {
  const children = execFileSync("ps", ["-o", "pid=,args=", "--ppid", String(process.pid)], { encoding: "utf8" });
  const line = children.split("\n").find((one) => one.includes("workerd"));
  if (line === undefined) throw new Error("workerd does not run.");
  return Number.parseInt(line.trim(), 10);
}

const pid = workerdPid();

/** CPU milliseconds of every thread so far. */
function threadTimes(): Map<string, number> {
  return new Map(
    readdirSync(`/proc/${pid}/task`).map((id) => {
      const text = readFileSync(`/proc/${pid}/task/${id}/schedstat`, "utf8");
      return [id, Number(text.split(" ")[0]) / 1e6];
    }),
  );
}

const user = { id: "1", username: "ann", global_name: "Ann" };
const base = { application_id: discord.applicationId, token: "t", channel_id: "2", user, locale: "en-US" };
let ids = 10 ** 15;
const interaction = (more: Record<string, unknown>) => ({ ...base, id: String(++ids), ...more });
const taken = interaction({ type: 3, data: { custom_id: "stop:none", component_type: 2 } });
const typing = (name: string, option: string, value: string) =>
  interaction({ type: 4, data: { name, type: 1, options: [{ name: option, type: 3, value, focused: true }] } });
const message = () => ({
  type: "event_callback",
  team_id: slack.world.teamId,
  event_id: `Ev${++ids}`,
  event: { type: "message", user: "U1", text: "Lunch?", ts: `${ids}.1`, channel: "C1", channel_type: "channel" },
});

const kinds: [kind: string, make: () => Request, status: number][] = [
  ["Discord: forged", () => withTime(discord.signed(interaction({ type: 2 }))), 401],
  ["Discord: ping", () => discord.signed(interaction({ type: 1 })), 200],
  ["Discord: a button, acknowledged", () => discord.signed({ ...taken, id: String(++ids) }), 200],
  ["Discord: the same again", () => discord.signed(taken), 409],
  ["Discord: models while typing", () => discord.signed(typing("ask", "model", "f")), 200],
  ["Discord: /fits while typing", () => discord.signed(typing("fits", "query", "qwen3 8b 30")), 200],
  ["Slack: forged", () => slack.signed("events_api", message(), { secret: "another" }), 401],
  ["Slack: a message of others", () => slack.signed("events_api", message()), 200],
];

/** The same request under another time than it was signed for. */
function withTime(request: Request): Request {
  request.headers.set("x-signature-timestamp", String(Math.floor(Date.now() / 1000) + 1));
  return request;
}

interface Cost {
  threadMs: number;
  allMs: number;
  answerMs: number;
}

async function send(request: Request): Promise<number> {
  const { pathname } = new URL(request.url);
  const reply = await fetch(bots.url + pathname, {
    method: "POST",
    headers: request.headers,
    body: await request.text(),
  });
  await reply.arrayBuffer();
  return reply.status;
}

async function cost(make: () => Request, status: number, count: number): Promise<Cost> {
  const requests = Array.from({ length: count }, make);
  const before = threadTimes();
  const startedAt = performance.now();
  for (const request of requests) {
    const got = await send(request);
    if (got !== status) throw new Error(`answered ${got} instead of ${status}`);
  }
  const answerMs = (performance.now() - startedAt) / count;
  const used = [...threadTimes()].map(([id, ms]) => ms - (before.get(id) ?? 0));
  return { threadMs: Math.max(...used) / count, allMs: used.reduce((sum, ms) => sum + ms, 0) / count, answerMs };
}

const nothing = () => new Request("http://bots/none", { method: "POST", body: "{}" });
await cost(nothing, 404, 20);
const floor = await cost(nothing, 404, rounds);
await send(discord.signed(taken));
const round = (ms: number) => Math.round(Math.max(0, ms) * 100) / 100;
const rows = [];
for (const [kind, make, status] of kinds) {
  await cost(make, status, 20);
  const { threadMs, allMs, answerMs } = await cost(make, status, rounds);
  rows.push({
    kind,
    threadMs: round(threadMs - floor.threadMs),
    allMs: round(allMs - floor.allMs),
    answerMs: round(answerMs),
  });
}
console.table(rows);

await bots.stop();
await Promise.all([engine.close(), discord.close(), slack.close()]);
rmSync(folder, { recursive: true, force: true });
mkdirSync("bench/results", { recursive: true });
const machine = {
  cpu: cpus()[0]?.model,
  cores: cpus().length,
  load: loadavg().map((one) => Math.round(one * 10) / 10),
};
const facts = { date: new Date().toISOString().slice(0, 10), machine, node: process.version, rounds };
writeFileSync("bench/results/edge-bots.json", `${JSON.stringify({ ...facts, rows }, undefined, 2)}\n`);
