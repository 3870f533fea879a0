/** What the engine promises by itself: prefixes, cancels, the line, a killed child. */
import { fileURLToPath } from "node:url";
import type { Arm, ArmSettings } from "./arm.ts";
import { childrenOf } from "./arm.ts";
import { freePort, startSnug } from "./arms.ts";
import { median, percentile, rounded } from "./figures.ts";

const prefixTokens = 2_000;
const settingsOf = (modelPath: string): ArmSettings => ({
  modelPath,
  contextLength: 4096,
  sequenceCount: 4,
  batchSize: 512,
  threads: 1,
});

/** A second question after the same long instructions, of the same user and of another, against the first. */
export async function measurePrefix(modelPath: string, rounds: number) {
  const arm = await startSnug(settingsOf(modelPath));
  try {
    await arm.ask(32, { maxTokens: 2 });
    const cold: number[] = [];
    const warm: number[] = [];
    const others: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const prefix = `${round} ${"lorem ipsum dolor sit amet ".repeat(prefixTokens / 27)}`;
      cold.push(await firstTokenMs(arm, prefix, 160, `${round}`));
      // Would lose the first one's question, so it is copied.
      others.push(await firstTokenMs(arm, prefix, 32, `another ${round}`));
      warm.push(await firstTokenMs(arm, prefix, 32, `${round}`));
    }
    const shareOf = (times: number[]) => rounded(median(times.map((ms, round) => ms / cold[round]!)), 3);
    const result = {
      coldMs: rounded(median(cold)),
      warmMs: rounded(median(warm)),
      share: shareOf(warm),
      otherUserMs: rounded(median(others)),
      otherUserShare: shareOf(others),
    };
    console.log(`\nFirst token with a shared prefix of ${prefixTokens} tokens`, result);
    return result;
  } finally {
    await arm.stop();
  }
}

async function firstTokenMs(arm: Arm, prefix: string, ownTokens: number, userId: string): Promise<number> {
  const { askedAt, tokenAt } = await arm.ask(prefix.length + ownTokens, { maxTokens: 2, prefix, userId });
  return tokenAt[0]! - askedAt;
}

/** From the client's hanging up to the slot being free, while answering and while reading a long prompt. */
export async function measureCancel(modelPath: string, rounds: number) {
  const port = `${await freePort()}`;
  const arm = await startSnug(settingsOf(modelPath), { PORT: port });
  const active = async () => {
    const health = (await (await fetch(`http://127.0.0.1:${port}/health`)).json()) as { active?: number };
    return health.active ?? 0;
  };
  const freeAfter = async (abort: AbortController) => {
    const abortedAt = performance.now();
    abort.abort();
    while ((await active()) > 0) await new Promise(setImmediate);
    return performance.now() - abortedAt;
  };
  try {
    const decoding: number[] = [];
    const prefilling: number[] = [];
    for (let round = 0; round < rounds * 5; round++) {
      const talk = new AbortController();
      const told = new Promise<void>((resolve) => {
        void arm.ask(32, { maxTokens: 2_000, signal: talk.signal, onToken: resolve });
      });
      await told;
      decoding.push(await freeAfter(talk));
      const read = new AbortController();
      void arm.ask(3_600, { maxTokens: 10, signal: read.signal });
      while ((await active()) === 0) await new Promise(setImmediate);
      await new Promise((resolve) => setTimeout(resolve, 100));
      prefilling.push(await freeAfter(read));
    }
    const result = {
      answeringMs: { median: rounded(median(decoding)), worst: rounded(Math.max(...decoding)) },
      readingMs: { median: rounded(median(prefilling)), worst: rounded(Math.max(...prefilling)) },
    };
    console.log("\nHanging up to a free slot", result);
    return result;
  } finally {
    await arm.stop();
  }
}

/** 16 users on 4 sequences, and one user's 50 questions before another's. */
export async function measureLine(modelPath: string, rounds: number) {
  const arm = await startSnug(settingsOf(modelPath), { SNUG_CONTEXT: "1024" });
  const question = (userId: string) => arm.ask(32, { maxTokens: 120, userId });
  try {
    await question("warm");
    const shares: number[] = [];
    const delays: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const four = await Promise.all(["a", "b", "c", "d"].map(question));
      const turnMs = median(four.map(({ askedAt, endedAt }) => endedAt - askedAt));
      const all = await Promise.all(Array.from({ length: 16 }, (_, user) => question(`user ${user}`)));
      // Four at a time: the last four begin after three turns.
      shares.push(
        percentile(
          all.map(({ queueMs }) => queueMs ?? 0),
          0.95,
        ) /
          (3 * turnMs),
      );
      const greedy = Array.from({ length: 50 }, () => question("greedy"));
      await greedy[0];
      const other = await question("other");
      delays.push((other.queueMs ?? 0) / turnMs);
      await Promise.all(greedy);
    }
    const result = {
      "p95 wait of 16 users on 4 sequences, of the ideal": rounded(median(shares), 3),
      "wait behind another's 50 questions, in turns": rounded(median(delays), 3),
    };
    console.log("\nWaiting", result);
    return result;
  } finally {
    await arm.stop();
  }
}

/** The demo model's child is killed; the next question is asked at once. */
export async function measureKill(rounds: number) {
  const demo = fileURLToPath(new URL("../../models/demo/demo-chat-F16.gguf", import.meta.url));
  const arm = await startSnug({ ...settingsOf(demo), contextLength: 1024 });
  try {
    const times: number[] = [];
    for (let round = 0; round < rounds; round++) {
      await arm.ask(16, { maxTokens: 4 });
      const [child] = childrenOf(arm.pid);
      process.kill(child!, "SIGKILL");
      const { askedAt, endedAt } = await arm.ask(16, { maxTokens: 4 });
      times.push(endedAt - askedAt);
    }
    const result = { nextAnswerMs: { median: rounded(median(times)), worst: rounded(Math.max(...times)) } };
    console.log("\nChild killed to the next question answered", result);
    return result;
  } finally {
    await arm.stop();
  }
}
