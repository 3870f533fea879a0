/** Perplexity of texts under a loaded model, and how far its predictions are from those of a reference. */
import { type FileHandle, open } from "node:fs/promises";
import type { LlamaContextSequence, Token } from "node-llama-cpp";
import { AppError } from "../core/errors.ts";
import type { QualityScore } from "../fit/compare-report.ts";
import type { TaskHooks } from "./llama-measure.ts";
import { divergenceOf, logProbabilities, ScoreSum } from "./score-sums.ts";
import type { ScoreTask } from "./task.ts";

export interface ScoredModel {
  sequence: LlamaContextSequence;
  tokenize(text: string): Token[];
  /** Put in the place of a window's first token, where the model wants one. */
  beginToken: Token | undefined;
  /** Of one sequence. */
  contextLength: number;
}

/** Tokens evaluated at once while logits are read, and logits held at most: they come as maps of many times their size. */
const tokensPerStepMax = 16;
const tokensPerStepMin = 4;
const logitsHeldMax = 600_000;

/** @throws AppError invalid_request when the texts are shorter than two windows' worth, or the reference is another model's */
export async function scoreTexts(task: ScoreTask, model: ScoredModel, hooks: TaskHooks): Promise<QualityScore> {
  const windowTokens = Math.min(task.windowTokens, model.contextLength);
  const windows = windowsOf(task, model, windowTokens);
  if (windows.length === 0) {
    throw new AppError("invalid_request", `The text is shorter than one window of ${windowTokens} tokens.`);
  }
  const first = windowTokens >> 1;
  const perWindow = windowTokens - first - 1;
  const reference = task.reference === undefined ? undefined : await openReference(task.reference);
  try {
    const all = new ScoreSum();
    const byText = new Map(task.texts.map(({ id }) => [id, new ScoreSum()]));
    for (const [index, { id, tokens }] of windows.entries()) {
      await model.sequence.clearHistory();
      const begun = model.beginToken === undefined ? tokens : [model.beginToken, ...tokens.slice(1)];
      let position = index * perWindow;
      for await (const { token, logits } of predictions(model.sequence, begun, tokens, first, hooks.signal)) {
        const own = logProbabilities(logits);
        const logProbability = own[token]!;
        const other = await reference?.next(own, position);
        const divergence = other === undefined ? undefined : divergenceOf(other, own);
        all.add(logProbability, divergence);
        byText.get(id)!.add(logProbability, undefined);
        position++;
        hooks.progress(position, windows.length * perWindow);
      }
    }
    return {
      ...all.result(),
      texts: [...byText].flatMap(([id, sum]) => (sum.tokens === 0 ? [] : [{ id, ...sum.score() }])),
    };
  } finally {
    await reference?.close();
    await model.sequence.clearHistory();
  }
}

/** Windows of the texts in turn, so that all have their share of the tokens there is time for. */
function windowsOf({ texts, tokensMax }: ScoreTask, { tokenize }: ScoredModel, windowTokens: number) {
  const perWindow = windowTokens - (windowTokens >> 1) - 1;
  const windowsMax = Math.max(1, Math.floor(tokensMax / perWindow));
  const cut = texts.map(({ id, text }) => {
    const tokens = tokenize(text);
    const count = Math.floor(tokens.length / windowTokens);
    return Array.from({ length: count }, (_, index) => ({
      id,
      tokens: tokens.slice(index * windowTokens, (index + 1) * windowTokens),
    }));
  });
  const longest = Math.max(...cut.map((windows) => windows.length));
  const taken = Array.from({ length: longest }, (_, at) => cut.flatMap((windows) => windows[at] ?? [])).flat();
  return taken.slice(0, windowsMax);
}

/** Greedy sampling leaves the logits as they are. */
const withLogits = { generateNext: { logits: true, options: { temperature: 0 } } };

/** The logits before every token of the window's second half, with the token that came. */
async function* predictions(
  sequence: LlamaContextSequence,
  evaluated: readonly Token[],
  tokens: readonly Token[],
  first: number,
  signal: AbortSignal,
): AsyncGenerator<{ token: Token; logits: Map<Token, number> }> {
  signal.throwIfAborted();
  await sequence.controlledEvaluate(evaluated.slice(0, first));
  let tokensPerStep = tokensPerStepMin;
  for (let at = first; at < tokens.length - 1; ) {
    signal.throwIfAborted();
    const step = evaluated.slice(at, Math.min(at + tokensPerStep, tokens.length - 1));
    const outputs = await sequence.controlledEvaluate(step.map((token) => [token, withLogits]));
    for (const [index, output] of outputs.entries()) {
      const logits = output?.next?.logits;
      if (logits === undefined) throw new Error("a position came back without logits");
      yield { token: tokens[at + index + 1]!, logits };
      tokensPerStep = stepFor(logits.size);
      logits.clear();
    }
    at += step.length;
  }
}

function stepFor(vocabularySize: number): number {
  return Math.min(tokensPerStepMax, Math.max(tokensPerStepMin, Math.floor(logitsHeldMax / vocabularySize)));
}

interface Reference {
  /** Keeps the distribution, or gives the one that was kept for this position. */
  next(own: Float32Array, position: number): Promise<Float32Array | undefined>;
  close(): Promise<void>;
}

/** Rows of float32 log-probabilities behind each other, one per scored token. */
async function openReference({ mode, path }: NonNullable<ScoreTask["reference"]>): Promise<Reference> {
  const file = await open(path, mode === "write" ? "w" : "r");
  const close = () => file.close();
  if (mode === "write") {
    return { close, next: async (own, position) => await writeRow(file, own, position) };
  }
  return {
    close,
    async next(own, position) {
      const row = new Float32Array(own.length);
      const { bytesRead } = await file.read(new Uint8Array(row.buffer), 0, row.byteLength, position * row.byteLength);
      if (bytesRead === row.byteLength) return row;
      throw new AppError("invalid_request", "The reference is of a model with another vocabulary, or of less text.");
    },
  };
}

async function writeRow(file: FileHandle, row: Float32Array, position: number): Promise<undefined> {
  await file.write(new Uint8Array(row.buffer), 0, row.byteLength, position * row.byteLength);
}
