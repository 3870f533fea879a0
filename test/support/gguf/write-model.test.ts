import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type ArchitectureName, RECIPES } from "./architectures.ts";
import { SCRIPT_LINES } from "./vocabulary.ts";
import { type ModelOptions, writeModel } from "./write-model.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "snug-gguf-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Greedy continuation of a prompt that ends in a newline, as every chat template's does. */
async function continueNewline(options: ModelOptions, tokenCountMax: number): Promise<string> {
  const { path } = writeModel(join(folder, "model.gguf"), options);
  const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error, maxThreads: 1 });
  const model = await llama.loadModel({ modelPath: path });
  const context = await model.createContext({ contextSize: 512, batchSize: 64 });
  const tokens = model.tokenize("say it\n", true);
  const answer: number[] = [];
  for await (const token of context.getSequence().evaluate(tokens, { temperature: 0 })) {
    if (model.isEogToken(token) || answer.push(token) === tokenCountMax) break;
  }
  const text = model.detokenize(answer as typeof tokens);
  await llama.dispose();
  return text.trim();
}

describe("generated models", () => {
  // Encoders say nothing; src/engine/vectors.test.ts loads them for what they do.
  const writers = Object.entries(RECIPES).filter(([, recipe]) => !("encoder" in recipe));
  for (const [name] of writers) {
    const architecture = name as ArchitectureName;
    test(`a scripted ${architecture} loads and says its line, then ends its turn`, async () => {
      expect(await continueNewline({ architecture, type: "Q8_0" }, 100)).toBe(SCRIPT_LINES[0]);
    });
  }

  test("a Q4_K model keeps enough precision to say its line", async () => {
    expect(await continueNewline({ shape: "small", type: "Q4_K" }, 100)).toBe(SCRIPT_LINES[0]);
  });

  test("an endless model starts its line again", async () => {
    const text = await continueNewline({ brain: "endless" }, 3 * SCRIPT_LINES[0].split(" ").length);
    expect(text.split("Hello").length - 1).toBe(3);
  });

  test("the same seed writes the same bytes, another seed different ones", () => {
    const bytes = (seed: number) => {
      writeModel(join(folder, "seed.gguf"), { brain: "random", seed });
      return readFileSync(join(folder, "seed.gguf"));
    };
    expect(bytes(7).equals(bytes(7))).toBe(true);
    expect(bytes(7).equals(bytes(8))).toBe(false);
  });

  test("a zeros model has the size of a real one and almost none of it on disk", () => {
    const written = writeModel(join(folder, "8b.gguf"), {
      architecture: "llama",
      shape: "llama3.1-8b",
      type: "Q5_K",
      brain: "zeros",
    });
    const file = statSync(written.path);
    expect(written.parameterCount).toBe(8_030_261_248);
    expect(file.size).toBe(written.fileBytes);
    expect(file.size).toBeGreaterThan(5e9);
    expect(file.blocks * 512).toBeLessThan(50e6);
  });

  test("a dropped key is absent from the header", () => {
    const key = "qwen3.attention.head_count";
    const header = (drop: string[]) =>
      readFileSync(writeModel(join(folder, "drop.gguf"), { drop }).path).toString("latin1");
    expect(header([]).split(key).length).toBe(header([key]).split(key).length + 1);
  });
});
