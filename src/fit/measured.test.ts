import { describe, expect, it } from "vitest";
import { AppError } from "../core/errors.ts";
import { answerQuery } from "./answer.ts";
import { measuredRuns, measuredRunsMax, parseMeasuredRows } from "./measured.ts";
import { parseQuery } from "./query.ts";

const dependencies = {
  loadGguf: async (location: string) => {
    throw new AppError("model_not_found", `There is no file ${location}.`);
  },
};

async function answerWith(question: string, rows: unknown) {
  const query = parseQuery(question);
  const measured = await measuredRuns(parseMeasuredRows(JSON.stringify(rows)), query.hardware!, dependencies);
  return answerQuery(query, { measured });
}

const plain = (question: string) => answerQuery(parseQuery(question));

/** The error of a file's text, asked about on a 3060. */
async function errorOf(text: string): Promise<AppError> {
  try {
    await measuredRuns(parseMeasuredRows(text), parseQuery("8b 3060").hardware!, dependencies);
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
  throw new Error("It was taken.");
}

describe("measured runs", () => {
  const question = "qwen3-8b q4_k_m 3060 ctx 8k";

  it("take the place of the fitted constants", async () => {
    const before = plain(question).plan!.speed;
    const measured = before.decodeTokensPerSecond * 0.7;
    const { plan } = await answerWith(question, [
      { query: "qwen3-8b q4_k_m ctx 8k", decodeTokensPerSecond: measured, depthTokens: before.atPromptTokens },
    ]);
    expect(plan!.speed.decodeTokensPerSecond).toBeCloseTo(measured, 1);
    expect(plan!.speed.decodeHigh / plan!.speed.decodeLow).toBeLessThan(before.decodeHigh / before.decodeLow);
  });

  it("of one model tell the speed of another", async () => {
    const small = plain("qwen3-4b q4_k_m 3060").plan!.speed.decodeTokensPerSecond;
    const rows = [{ query: "qwen3-4b q4_k_m", decodeTokensPerSecond: small / 2, depthTokens: 512 }];
    const before = plain(question).plan!.speed.decodeTokensPerSecond;
    const after = (await answerWith(question, rows)).plan!.speed.decodeTokensPerSecond;
    expect(after / before).toBeCloseTo(0.5, 1);
  });

  it("tell how fast prompts are read", async () => {
    const before = plain(question).plan!.speed;
    const { plan } = await answerWith(question, [
      {
        query: "qwen3-8b q4_k_m ctx 8k",
        decodeTokensPerSecond: before.decodeTokensPerSecond,
        promptTokens: 512,
        prefillTokensPerSecond: before.prefillTokensPerSecond * 2,
      },
    ]);
    expect(plan!.speed.prefillTokensPerSecond).toBeCloseTo(before.prefillTokensPerSecond * 2, 0);
  });

  it("reach the chart and the recommendations too", async () => {
    const before = plain(question);
    const rows = [{ query: "qwen3-8b q4_k_m ctx 8k", decodeTokensPerSecond: 5 }];
    const after = await answerWith(question, rows);
    expect(after.speedByContext[0]!.tokensPerSecond).toBeLessThan(before.speedByContext[0]!.tokensPerSecond / 3);
    const models = await answerWith("3060", rows);
    expect(models.models[0]!.plan.speed.decodeTokensPerSecond).toBeLessThan(
      plain("3060").models[0]!.plan.speed.decodeTokensPerSecond,
    );
  });

  it("may be a list, one object, or an object per line, and name the machine", () => {
    const row = { query: "qwen3-8b 3060", decodeTokensPerSecond: 40 };
    const line = JSON.stringify(row);
    expect(parseMeasuredRows(`[${line}]`)).toEqual([row]);
    expect(parseMeasuredRows(line)).toEqual([row]);
    expect(parseMeasuredRows(`\uFEFF${line}\r\n\n${line}\n`)).toEqual([row, row]);
  });

  it.each([
    ["nothing", "", "measured", /not JSON|no measured runs/],
    ["an empty list", "[]", "measured", /no measured runs/],
    ["no JSON", "qwen3-8b 41", "measured", /not JSON/],
    ["a broken second line", '{"query":"8b","decodeTokensPerSecond":40}\n{', "measured", /Line 2/],
    ["too many", `[${Array(measuredRunsMax + 1).fill("1")}]`, "measured", /1000/],
    ["a number", "[41]", "measured[0].query", /object/],
    ["no speed", '[{"query":"8b"}]', "measured[0].decodeTokensPerSecond", /number/],
    [
      "a speed of text",
      '[{"query":"8b","decodeTokensPerSecond":"41 t/s"}]',
      "measured[0].decodeTokensPerSecond",
      /number/,
    ],
    ["a speed of 0", '[{"query":"8b","decodeTokensPerSecond":0}]', "measured[0].decodeTokensPerSecond", /above 0/],
    [
      "an absurd speed",
      '[{"query":"8b","decodeTokensPerSecond":90000}]',
      "measured[0].decodeTokensPerSecond",
      /expected/,
    ],
    ["a misspelled field", '[{"query":"8b","decodeTokensPerSecond":41,"depth":3}]', "measured[0].depth", /not known/],
    [
      "a prompt's rate without its length",
      '[{"query":"8b","decodeTokensPerSecond":41,"prefillTokensPerSecond":900}]',
      "measured[0].promptTokens",
      /how long/,
    ],
    ["no model", '[{"query":"12gb","decodeTokensPerSecond":41}]', "measured[0].query", /name a model/],
    ["a riddle", '[{"query":"osmium","decodeTokensPerSecond":41}]', "measured[0].query", /cannot be read/],
    ["another machine", '[{"query":"8b 4090","decodeTokensPerSecond":41}]', "measured[0].query", /RTX 4090.*RTX 3060/],
    ["another framework", '[{"query":"8b awq vllm","decodeTokensPerSecond":41}]', "measured[0].query", /GGUF/],
    ["what does not fit", '[{"query":"405b","decodeTokensPerSecond":41}]', "measured[0].query", /cannot have run/],
  ])("that are %s are refused by row and field", async (_, text, param, message) => {
    const error = await errorOf(text);
    expect([error.code, error.param]).toEqual(["invalid_request", param]);
    expect(error.message).toMatch(message);
  });

  it("of a file say when it is not there", async () => {
    const error = await errorOf('[{"query":"./none.gguf","decodeTokensPerSecond":41}]');
    expect(error.code).toBe("model_not_found");
  });
});
