/** Decode speed at several streams and time to the first token: the three programs side by side, taking turns. */
import { type Arm, type ArmSettings, cpuSeconds } from "./arm.ts";
import { startRaw, startServer, startSnug } from "./arms.ts";
import { median, rounded } from "./figures.ts";
import type { BenchModel } from "./models.ts";

const streamCounts = [1, 4, 8, 16];
const promptTokens = 32;
/** Of each stream, by model; so many that the first stream still writes when the last begins. */
const answerTokens: Record<BenchModel, number> = { tiny: 400, small: 160, medium: 120 };
const firstTokenTries = 12;

interface Sample {
  tokensPerSecond: number;
  cpuSecondsPerThousand: number;
}

export async function measureSpeed(name: BenchModel, modelPath: string, server: string | undefined, rounds: number) {
  const settings: ArmSettings = { modelPath, contextLength: 512, sequenceCount: 16, batchSize: 512, threads: 1 };
  const arms = [await startRaw(settings), await startSnug(settings)];
  if (server !== undefined) arms.push(await startServer(server, settings));
  try {
    for (const arm of arms) await sample(arm, 2, 16);
    const samples = new Map<string, Sample[]>();
    const firsts = new Map<string, number[]>();
    for (let round = 0; round < rounds; round++) {
      for (const streams of streamCounts) {
        // Each goes first as often as the others.
        for (let turn = 0; turn < arms.length; turn++) {
          const arm = arms[(turn + round) % arms.length]!;
          push(samples, `${arm.name} ${streams}`, await sample(arm, streams, answerTokens[name]));
        }
      }
      for (let tried = 0; tried < firstTokenTries; tried++) {
        for (const arm of arms) push(firsts, arm.name, await firstTokenMs(arm));
      }
    }
    return report(name, arms, samples, firsts);
  } finally {
    for (const arm of arms) await arm.stop();
  }
}

/** Tokens in the time in which all streams are writing. */
async function sample(arm: Arm, streams: number, maxTokens: number): Promise<Sample> {
  const cpuBefore = cpuSeconds(arm.pid);
  const answers = await Promise.all(Array.from({ length: streams }, () => arm.ask(promptTokens, { maxTokens })));
  const cpu = cpuSeconds(arm.pid) - cpuBefore;
  const tokens = answers.flatMap(({ tokenAt }) => tokenAt);
  const from = Math.max(...answers.map(({ tokenAt }) => tokenAt[0]!));
  const to = Math.min(...answers.map(({ tokenAt }) => tokenAt.at(-1)!));
  const within = tokens.filter((at) => at > from && at <= to).length;
  return {
    tokensPerSecond: (within / (to - from)) * 1000,
    cpuSecondsPerThousand: (cpu / tokens.length) * 1000,
  };
}

async function firstTokenMs(arm: Arm): Promise<number> {
  const { askedAt, tokenAt } = await arm.ask(promptTokens, { maxTokens: 2 });
  return tokenAt[0]! - askedAt;
}

function report(name: string, arms: Arm[], samples: Map<string, Sample[]>, firsts: Map<string, number[]>) {
  const [raw, ours, server] = arms.map((arm) => arm.name);
  const of = (arm: string | undefined, streams: number) => samples.get(`${arm} ${streams}`) ?? [];
  const speed = streamCounts.map((streams) => {
    const [rawSamples, ourSamples, serverSamples] = [of(raw, streams), of(ours, streams), of(server, streams)];
    const rates = (list: Sample[]) => list.map(({ tokensPerSecond }) => tokensPerSecond);
    const costs = (list: Sample[]) => list.map(({ cpuSecondsPerThousand }) => cpuSecondsPerThousand);
    return {
      streams,
      "raw tokens/s": rounded(median(rates(rawSamples))),
      "Snug tokens/s": rounded(median(rates(ourSamples))),
      "llama-server tokens/s": rounded(median(rates(serverSamples))),
      "Snug / raw": ratio(rates(ourSamples), rates(rawSamples)),
      "Snug / llama-server": ratio(rates(ourSamples), rates(serverSamples)),
      "raw CPU s/1k": rounded(median(costs(rawSamples)), 2),
      "Snug CPU s/1k": rounded(median(costs(ourSamples)), 2),
      "llama-server CPU s/1k": rounded(median(costs(serverSamples)), 2),
    };
  });
  const firstToken = Object.fromEntries(arms.map((arm) => [arm.name, rounded(median(firsts.get(arm.name)!), 2)]));
  console.log(`\n${name} model: decode, tokens per second over all streams`);
  console.table(speed);
  console.log("Time to the first token of a short question alone, ms", firstToken);
  return { speed, firstTokenMs: firstToken };
}

/** Median of the rounds' own ratios: what slows a round down slows both. */
function ratio(ours: number[], theirs: number[]): number {
  return rounded(median(ours.map((value, round) => value / (theirs[round] ?? Number.NaN))), 3);
}

function push<Value>(lists: Map<string, Value[]>, key: string, value: Value): void {
  const list = lists.get(key) ?? [];
  lists.set(key, list);
  list.push(value);
}
