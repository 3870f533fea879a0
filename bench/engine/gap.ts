/** The longest silence of two running answers while a long prompt arrives. */
import type { Arm, ArmSettings } from "./arm.ts";
import { startServer, startSnug } from "./arms.ts";
import { median, percentile, rounded } from "./figures.ts";

const longPromptTokens = 3_600;
const answerTokens = 2_000;
const tokensBefore = 40;

export async function measureGap(modelPath: string, server: string | undefined, rounds: number) {
  const settings: ArmSettings = { modelPath, contextLength: 4096, sequenceCount: 4, batchSize: 512, threads: 1 };
  const arms = [await startSnug(settings)];
  if (server !== undefined) {
    arms.push(await startServer(server, settings));
    const usual = await startServer(server, { ...settings, batchSize: 512 }, ["-b", "2048"]);
    arms.push({ ...usual, name: "llama-server with its usual -b 2048" });
  }
  try {
    const figures = new Map<string, { gaps: number[]; typical: number[]; first: number[] }>();
    for (let round = 0; round < rounds; round++) {
      for (const arm of arms) {
        const { longestMs, p95Ms, firstTokenMs } = await interrupt(arm);
        const list = figures.get(arm.name) ?? { gaps: [], typical: [], first: [] };
        figures.set(arm.name, list);
        list.gaps.push(longestMs);
        list.typical.push(p95Ms);
        list.first.push(firstTokenMs);
      }
    }
    const table = Object.fromEntries(
      [...figures].map(([name, { gaps, typical, first }]) => [
        name,
        {
          "longest gap ms": rounded(median(gaps)),
          "p95 gap ms": rounded(median(typical)),
          "first token of the long prompt ms": rounded(median(first)),
        },
      ]),
    );
    console.log(`\nTwo running answers while a prompt of ${longPromptTokens} tokens arrives`);
    console.table(table);
    return table;
  } finally {
    for (const arm of arms) await arm.stop();
  }
}

async function interrupt(arm: Arm): Promise<{ longestMs: number; p95Ms: number; firstTokenMs: number }> {
  const enough = new AbortController();
  let heard = 0;
  let go = () => {};
  const running = new Promise<void>((resolve) => {
    go = resolve;
  });
  const onToken = () => {
    if (++heard === 2 * tokensBefore) go();
  };
  const talks = [1, 2].map(() => arm.ask(32, { maxTokens: answerTokens, signal: enough.signal, onToken }));
  await running;
  const long = await arm.ask(longPromptTokens, { maxTokens: 1 });
  enough.abort();
  const gaps = (await Promise.all(talks)).flatMap(({ tokenAt }) => {
    const until = long.endedAt;
    const around = [...tokenAt.filter((at) => at <= until), until];
    return (
      around
        .slice(1)
        .map((at, index) => ({ at, ms: at - around[index]! }))
        .filter(({ at }) => at > long.askedAt)
        .map(({ ms }) => ms)
        // Tokens that come in one message have no gap between them.
        .filter((ms) => ms > 0)
    );
  });
  return {
    longestMs: Math.max(...gaps),
    p95Ms: percentile(gaps, 0.95),
    firstTokenMs: (long.tokenAt[0] ?? long.endedAt) - long.askedAt,
  };
}
