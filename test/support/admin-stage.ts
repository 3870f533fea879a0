/** A server with a month of made-up use behind its admin page, for pictures of it and for measuring it. */

import type { createEngineStore } from "../../src/api/engine-store.ts";
import { createRouter } from "../../src/api/router.ts";
import type { ErrorCode } from "../../src/core/errors.ts";
import type { DeviceMemory, EngineHealth, UsageSource } from "../../src/core/ports.ts";
import { GIB } from "../../src/core/units.ts";
import { version } from "../../src/core/version.ts";
import { systemTimer } from "../../src/entries/timer.ts";
import { createHttpEngine } from "../../src/http/client.ts";
import { openApi } from "./api.ts";
import { listenLocally } from "./engine-server.ts";
import { FakeEngine, type FakeEngineOptions } from "./fake-engine.ts";

const dayMs = 86_400_000;

class MachineEngine extends FakeEngine {
  readonly #devices: DeviceMemory[];

  constructor(devices: DeviceMemory[], options: FakeEngineOptions) {
    super(options);
    this.#devices = devices;
  }

  override async health(): Promise<EngineHealth> {
    return { ...(await super.health()), devices: this.#devices };
  }
}

/** The same figures with every run. */
function createChance(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

export async function openAdminStage({ rowsPerDay = 120 }: { rowsPerDay?: number } = {}) {
  const attic = new MachineEngine(
    [
      { name: "NVIDIA GeForce RTX 3060", kind: "gpu", bytesTotal: 12 * GIB, bytesUsed: 9.6 * GIB, bytesOwn: 8.7 * GIB },
      { name: "RAM", kind: "host", bytesTotal: 32 * GIB, bytesUsed: 11.2 * GIB, bytesOwn: 1.9 * GIB },
    ],
    {
      slots: 4,
      models: [
        { id: "qwen3-14b", quantization: "Q4_K_M", contextLength: 16_384, loaded: true },
        { id: "llama-3.2-3b", quantization: "Q6_K", contextLength: 8_192, loaded: false },
      ],
      script: () => [{ text: "Good" }, ...Array.from({ length: 180 }, () => ({ text: " word" })), { hold: "answer" }],
    },
  );
  const cellar = new MachineEngine(
    [{ name: "NVIDIA GeForce GTX 1660", kind: "gpu", bytesTotal: 6 * GIB, bytesUsed: 5.1 * GIB, bytesOwn: 4.4 * GIB }],
    { slots: 2, models: [{ id: "gemma-3-4b", quantization: "Q5_K_M", contextLength: 8_192, loaded: true }] },
  );
  let engines: ReturnType<typeof createEngineStore> | undefined;
  const settings = { origin: "settings", named: true, weight: 1, draining: false } as const;
  const clock = { now: () => Date.now() };
  const router = createRouter({
    engines: [
      { ...settings, name: "attic", url: "http://10.0.0.5:8788", engine: attic },
      { ...settings, name: "cellar", url: "http://10.0.0.6:8788", engine: cellar },
    ],
    registered: {
      list: async () => (await engines?.list()) ?? [],
      open: ({ url }) => createHttpEngine({ baseUrl: url, clock }),
    },
    timer: systemTimer,
  });
  const api = await openApi({ replace: { engine: router, version } });
  engines = api.engineStore;
  const now = Date.now();
  const rows = await writeUse(api, now, rowsPerDay);
  const listening = await listenLocally((request) => api.app.fetch(request));
  return {
    api,
    attic,
    url: listening.url,
    /** In the ledger. */
    rows,
    async close() {
      attic.release("answer");
      await listening.close();
      api.close();
    },
  };
}

async function writeUse(api: Awaited<ReturnType<typeof openApi>>, now: number, rowsPerDay: number): Promise<number> {
  const chance = createChance(7);
  const pick = <T>(list: readonly (readonly [T, number])[]): T => {
    let left = chance() * list.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [value, weight] of list) {
      left -= weight;
      if (left < 0) return value;
    }
    return list[0]![0];
  };
  const models = [
    ["qwen3-14b", 9],
    ["gemma-3-4b", 5],
    ["llama-3.2-3b", 2],
  ] as const;
  const users = [
    ["ann", 6],
    ["博文", 5],
    ["carlos", 3],
    ["dmitri", 2],
    ["emi", 2],
    ["farid", 1],
    ["grace", 1],
    ["hugo", 1],
    ["ines", 1],
  ] as const;
  const sources: readonly (readonly [UsageSource, number])[] = [
    ["discord", 6],
    ["slack", 4],
    ["api", 3],
    ["cli", 1],
  ];
  const faults: readonly (readonly [ErrorCode, number])[] = [
    ["engine_timeout", 3],
    ["context_length_exceeded", 2],
    ["engine_unavailable", 1],
  ];
  const made = [
    await api.makeKey(["chat", "fits", "usage"], {
      name: "discord",
      createdAt: now - 40 * dayMs,
      userLimits: { requestsPerDay: 200 },
    }),
    await api.makeKey(["chat", "usage"], { name: "slack", createdAt: now - 38 * dayMs, expiresAt: now + 90 * dayMs }),
    await api.makeKey(["chat"], {
      name: "notebooks",
      createdAt: now - 9 * dayMs,
      models: ["gemma-3-4b"],
      limits: { tokensPerDay: 500_000, concurrentRequests: 2 },
    }),
  ];
  await api.makeKey(["chat"], { name: "old laptop", createdAt: now - 200 * dayMs, revokedAt: now - 20 * dayMs });
  for (let day = 0; day < 30; day++) {
    const weekend = [0, 6].includes(new Date(now - day * dayMs).getUTCDay()) ? 0.45 : 1;
    const count = Math.round(rowsPerDay * weekend * (0.75 + chance() * 0.5) * (1.25 - day / 60));
    for (let i = 0; i < count; i++) {
      const at = Math.floor(now - day * dayMs - chance() ** 1.4 * dayMs);
      const model = pick(models);
      const id = `row-${day}-${i}`;
      const userId = pick(users);
      await api.usageStore.admit({
        id,
        at,
        keyId: made[Math.floor(chance() * 3)]!.id,
        source: pick(sources),
        userId,
        model,
        stream: true,
      });
      const firstMs =
        90 + (model === "qwen3-14b" ? 260 : 60) * (0.5 + chance()) + (chance() < 0.06 ? 2500 * chance() : 0);
      const tokens = Math.round(40 + 500 * chance() ** 2);
      const failed = chance() < 0.014;
      await api.usageStore.settle({
        id,
        model,
        engineId: model === "gemma-3-4b" ? "cellar" : "attic",
        usage: { promptTokens: Math.round(80 + 1800 * chance() ** 2), completionTokens: failed ? 0 : tokens },
        timings: {
          queueMs: chance() * 40,
          timeToFirstTokenMs: firstMs,
          totalMs: firstMs + tokens * 28,
          completionTokensPerSecond: 30 + 10 * chance(),
        },
        aborted: chance() < 0.03,
        ...(failed ? { errorCode: pick(faults) } : { finishReason: "stop" as const }),
      });
      if (chance() < 0.12) {
        const vote = chance() < (model === "qwen3-14b" ? 0.9 : 0.72) ? "up" : "down";
        await api.botState.recordFeedback({ answerId: id, source: "discord", userId, vote, at, model });
      }
    }
  }
  await api.usageStore.rollUp(now);
  return (await api.usageStore.totals({})).requests;
}
