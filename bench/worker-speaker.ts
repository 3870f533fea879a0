/** What the benches of linked engines share: an engine that speaks at a set pace, a client, and the kernel's count of CPU time. */
import { readdirSync, readFileSync } from "node:fs";
import { Agent, request as httpRequest } from "node:http";
import type { ChatEngine } from "../src/core/ports.ts";
import { systemTimer } from "../src/entries/timer.ts";

const agent = new Agent({ keepAlive: true, maxSockets: 64 });

/** workerd closes connections that idle; who paused starts anew. */
export const closeIdle = () => agent.destroy();

/** Paces in tokens a second, with a model's name and the time between two tokens. */
export const speeds = [
  ["as fast as it can", "fast", 0],
  ["60 tokens/s", "sixty", 1000 / 60],
  ["20 tokens/s", "twenty", 50],
] as const;

/** Speaks as many tokens as asked for, one every `gapMs`. */
export function speaker(id: string, gapMs: number): ChatEngine {
  const listing = { id, contextLength: 1e9, loaded: true };
  return {
    models: async () => [listing],
    health: async () => ({ state: "ready", active: 0, queued: 0, slots: 64 }),
    async *chat(request, { signal }) {
      const tokens = request.maxTokens ?? 500;
      const startedAt = performance.now();
      yield { type: "start", producer: { model: id }, promptTokens: 10 };
      for (let token = 0; token < tokens && !signal.aborted; token++) {
        const dueInMs = startedAt + token * gapMs - performance.now();
        if (dueInMs > 1) await systemTimer.wait(dueInMs);
        else if (token % 8 === 0) await new Promise((resolve) => setImmediate(resolve));
        yield { type: "text", text: " word" };
      }
      yield {
        type: "finish",
        finishReason: "stop",
        usage: { promptTokens: 10, completionTokens: tokens },
        timings: {},
      };
    },
  };
}

export interface Asked {
  firstMs: number;
  chunks: number;
  bytes: number;
}

export function ask(url: string, key: string, model: string, tokens: number): Promise<Asked> {
  return new Promise((resolve, reject) => {
    const body = JSON.stringify({
      model,
      stream: true,
      max_tokens: tokens,
      messages: [{ role: "user", content: "Hi" }],
    });
    const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
    const sentAt = performance.now();
    let asked: Asked = { firstMs: 0, chunks: 0, bytes: 0 };
    const outgoing = httpRequest(`${url}/v1/chat/completions`, { method: "POST", headers, agent }, (incoming) => {
      if (incoming.statusCode !== 200) {
        incoming.on("data", (data: Buffer) => reject(new Error(`${incoming.statusCode} ${data}`)));
        return;
      }
      incoming.on("data", (data: Buffer) => {
        const firstMs =
          asked.firstMs === 0 && data.includes('"content":" word') ? performance.now() - sentAt : asked.firstMs;
        asked = { firstMs, chunks: asked.chunks + 1, bytes: asked.bytes + data.length };
      });
      incoming.on("end", () => resolve(asked));
    });
    outgoing.on("error", reject);
    outgoing.end(body);
  });
}

/** CPU milliseconds of each thread so far. */
export function cpuMs(pid: number): Map<string, number> {
  return new Map(
    readdirSync(`/proc/${pid}/task`).map((id) => {
      const text = readFileSync(`/proc/${pid}/task/${id}/schedstat`, "utf8");
      return [id, Number(text.split(" ")[0]) / 1e6];
    }),
  );
}

/** Of the busiest thread, which is the isolate's, and of all. */
export function spent(before: Map<string, number>, after: Map<string, number>) {
  const used = [...after].map(([id, ms]) => ms - (before.get(id) ?? 0));
  return { isolate: Math.max(...used), all: used.reduce((sum, ms) => sum + ms, 0) };
}

export const round = (value: number, digits = 2) => Math.round(value * 10 ** digits) / 10 ** digits;
