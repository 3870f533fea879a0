/**
 * What an engine that dials in costs on Workers, in workerd itself: CPU time of a streamed answer of 500 tokens, and of
 * each token; what the link adds to the first token; what a thousand idle engines cost.
 *
 * CPU time is the kernel's count for workerd's threads (/proc/PID/task/TID/schedstat): it holds sockets, D1 and the object
 * as well as the Worker's script, so it is an upper bound of what Cloudflare counts; bench/worker-script.ts has the script's
 * own share. Linux only. Each client opens one connection, as bots and libraries do.
 *
 * Prints tables, writes bench/results/worker-link.json. Run: npx tsx bench/worker-link.ts
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { dialWebSocket } from "../src/entries/link-socket.ts";
import { systemTimer } from "../src/entries/timer.ts";
import { linkPing, linkPong, linkProtocol } from "../src/http/link-frames.ts";
import { serveLink } from "../src/http/link-serve.ts";
import { dialEngine } from "../test/support/dialled-engine.ts";
import { serveEngine } from "../test/support/engine-server.ts";
import { FakeEngine } from "../test/support/fake-engine.ts";
import { type RunningWorker, startWorker } from "../test/support/workerd.ts";
import { ask, cpuMs, round, speaker, speeds, spent } from "./worker-speaker.ts";

async function many(worker: RunningWorker, model: string, tokens: number, chats: number, atOnce: number) {
  for (let warm = 0; warm < 10; warm++) await ask(worker.url, worker.adminKey, model, 20);
  const counted = await counts();
  const before = cpuMs(worker.pid);
  let left = chats;
  let chunks = 0;
  const run = async () => {
    while (left-- > 0) {
      const asked = await ask(worker.url, worker.adminKey, model, tokens);
      chunks += asked.chunks;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, run));
  const { isolate, all } = spent(before, cpuMs(worker.pid));
  const after = await counts();
  const perChat = Object.fromEntries(
    Object.entries(after).map(([name, count]) => [name, round((count - counted[name]!) / chats)]),
  );
  return { isolateMs: isolate / chats, allMs: all / chats, chunks: chunks / chats, perChat };
}

const median = (values: number[]) => [...values].sort((a, b) => a - b)[values.length >> 1]!;

const remote = await serveEngine(speaker("remote", 0));
const worker = await startWorker({ SNUG_ENGINE_URL: `remote=${remote.url}` }, "bench/worker-link-entry.ts");
const door = { url: worker.url, token: worker.adminKey };
const dials = await Promise.all(speeds.map(([, name, gapMs]) => dialEngine(speaker(name, gapMs), { ...door, name })));

async function counts(): Promise<Record<string, number>> {
  return (await (await fetch(`${worker.url}/bench/counts`)).json()) as Record<string, number>;
}

// The Worker and its object share an isolate here; at Cloudflare the object is counted apart, with 30 s for each event.
for (const [, model] of speeds) await ask(worker.url, worker.adminKey, model, 1);
const rows = [];
const costs: Record<string, object> = {};
for (const [speed, model] of [...speeds, ["by its address, as fast as it can", "remote"]] as const) {
  const short = await many(worker, model, 1, 40, 4);
  const long = await many(worker, model, 500, model === "twenty" ? 8 : 32, 16);
  costs[speed] = long.perChat;
  rows.push({
    speed,
    chat1TokenMs: round(short.isolateMs),
    chat500TokensMs: round(long.isolateMs),
    allThreadsMs: round(long.allMs),
    relayPerTokenUs: round(((long.isolateMs - short.isolateMs) / 499) * 1000, 1),
    writesToClient: round(long.chunks, 0),
  });
}
console.table(rows);
console.table(costs);

const direct = await serveEngine(speaker("fast", 0));
const firsts = { direct: [] as number[], linked: [] as number[] };
for (let i = 0; i < 60; i++) {
  firsts.direct.push((await ask(direct.url, "none", "fast", 4)).firstMs);
  firsts.linked.push((await ask(worker.url, worker.adminKey, "fast", 4)).firstMs);
}
const firstToken = {
  directMs: round(median(firsts.direct)),
  linkedMs: round(median(firsts.linked)),
  addedMs: round(median(firsts.linked) - median(firsts.direct)),
};
console.table([firstToken]);

/** A thousand engines say hello, fall silent, and ping. */
async function idleEngines(count: number) {
  const sockets = [];
  for (let i = 0; i < count; i++) {
    const socket = await dialWebSocket({
      url: `${worker.url.replace("http", "ws")}/bench/link?engine=idle-${i}`,
      protocol: linkProtocol,
      headers: {},
      signal: new AbortController().signal,
    });
    await new Promise<void>((resolve) => {
      const service = serveLink({
        engine: new FakeEngine(),
        socket,
        name: `idle-${i}`,
        instance: String(i),
        software: "bench",
        // Only what the wire brings happens here.
        timer: { ...systemTimer, wait: () => new Promise(() => {}) },
        onWelcome: resolve,
      });
      socket.onMessage((message) => {
        if (message !== linkPong) service.receive(message);
      });
    });
    sockets.push(socket);
  }
  const connected = await counts();
  // Objects sleep after ten seconds without work.
  await systemTimer.wait(15_000);
  const rssAsleep = rssMiB(worker.pid);
  const before = cpuMs(worker.pid);
  let pongs = 0;
  const rounds = 3;
  for (let turn = 0; turn < rounds; turn++) {
    await Promise.all(
      sockets.map(
        (socket) =>
          new Promise<void>((resolve) => {
            socket.onMessage((message) => {
              if (message !== linkPong) return;
              pongs++;
              resolve();
            });
            socket.send(linkPing);
          }),
      ),
    );
  }
  const { all } = spent(before, cpuMs(worker.pid));
  const after = await counts();
  for (const socket of sockets) socket.terminate();
  return {
    engines: count,
    pings: count * rounds,
    answered: pongs >= count * rounds,
    objectsMadeByPings: after.made! - connected.made!,
    messagesSeenByScript: after.messages! - connected.messages!,
    cpuUsPerPing: round((all / (count * rounds)) * 1000, 1),
    rssMiB: rssAsleep,
  };
}

function rssMiB(pid: number): number {
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024);
}

const idle = await idleEngines(1000);
console.table([idle]);

await Promise.all(dials.map((dial) => dial.stop()));
await worker.stop();
await Promise.all([remote.close(), direct.close()]);

mkdirSync("bench/results", { recursive: true });
const machine = {
  cpu: cpus()[0]?.model,
  cores: cpus().length,
  load: loadavg().map((one) => Math.round(one * 10) / 10),
};
const result = {
  date: new Date().toISOString().slice(0, 10),
  machine,
  node: process.version,
  rows,
  costs,
  firstToken,
  idle,
};
writeFileSync("bench/results/worker-link.json", `${JSON.stringify(result, undefined, 2)}\n`);
process.exit(0);
