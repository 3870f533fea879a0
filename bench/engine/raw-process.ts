/** node-llama-cpp alone in one process: what the engine's boundary, line and HTTP are measured against. */
import { type EvaluationPriority, getLlama, LlamaLogLevel, resolveChatWrapper, type Token } from "node-llama-cpp";
import { prefillChunkTokens } from "../../src/core/limits.ts";
import { BatchStrategy } from "../../src/engine/batching.ts";
import { cpuFloor, PrefillPace } from "../../src/engine/prefill-chunks.ts";
import type { ArmSettings } from "./arm.ts";

interface Question {
  id: number;
  prompt: string;
  maxTokens: number;
}

const settings: ArmSettings = JSON.parse(process.argv[2] ?? "");
const llama = await getLlama({ build: "never", gpu: false, logLevel: LlamaLogLevel.error });
llama.maxThreads = settings.threads;
const model = await llama.loadModel({
  modelPath: settings.modelPath,
  gpuLayers: 0,
  defaultContextFlashAttention: true,
});
const strategy = new BatchStrategy(new PrefillPace(settings.batchSize, cpuFloor));
const context = await model.createContext({
  contextSize: settings.contextLength,
  sequences: settings.sequenceCount,
  batchSize: settings.batchSize,
  threads: settings.threads,
  flashAttention: true,
  batching: {
    dispatchSchedule: (dispatch) => queueMicrotask(dispatch),
    // The library hands through a priority that it does not look at: it says which sequence an item is of.
    itemPrioritizationStrategy: ({ items, size }) =>
      strategy
        .plan(
          items.map((item) => ({ item, tokens: item.tokens, sequenceId: item.evaluationPriority })),
          size,
        )
        .map(({ item, processAmount }) => ({ item: item.item, processAmount })),
  },
});
const free = Array.from({ length: settings.sequenceCount }, (_, index) => ({
  sequence: context.getSequence(),
  place: { evaluationPriority: index as EvaluationPriority },
}));
const template = resolveChatWrapper(model);

async function answer({ prompt, maxTokens }: Question) {
  const askedAt = performance.now();
  const slot = free.shift()!;
  const { sequence } = slot;
  const { contextText } = template.generateContextState({
    chatHistory: [
      { type: "user", text: prompt },
      { type: "model", response: [""] },
    ],
  });
  const tokens = contextText.tokenize(model.tokenizer);
  await sequence.adaptStateToTokens(tokens.slice(0, -1), false);
  strategy.enter();
  const tokenAt = await decode(slot, tokens.slice(sequence.nextTokenIndex), maxTokens);
  strategy.leave();
  free.push(slot);
  return { askedAt, tokenAt, endedAt: performance.now() };
}

async function decode(
  { sequence, place }: (typeof free)[number],
  prompt: Token[],
  maxTokens: number,
): Promise<number[]> {
  let rest = prompt;
  while (rest.length > prefillChunkTokens) {
    await sequence.evaluateWithoutGeneratingNewTokens(rest.slice(0, prefillChunkTokens), place);
    rest = rest.slice(prefillChunkTokens);
  }
  const tokenAt: number[] = [];
  for await (const token of sequence.evaluate(rest, { ...place, temperature: 0, yieldEogToken: true })) {
    model.detokenize([token]);
    tokenAt.push(performance.now());
    if (tokenAt.length >= maxTokens) break;
  }
  return tokenAt;
}

process.on("message", async (question: Question) => {
  process.send?.({ id: question.id, ...(await answer(question)) });
});
process.on("disconnect", () => process.exit(0));
process.send?.({ ready: true });
