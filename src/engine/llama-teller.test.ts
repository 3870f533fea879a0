import type { Token } from "node-llama-cpp";
import { describe, expect, test } from "vitest";
import { AnswerAccount } from "./answer-account.ts";
import { AnswerParser } from "./answer-parser.ts";
import type { AnswerEnd } from "./ipc.ts";
import { AnswerTeller } from "./llama-teller.ts";

const texts = ["Hel", "lo", ".", " More"];
const endToken = 9 as Token;
const nextTurn = () => new Promise(setImmediate);

/** Tokens are places in `texts`; the answer stops before a full stop. */
function telling({ tokensMax = 100, decides = false, failsAt = -1 } = {}) {
  const parser = new AnswerParser({ thoughts: [], ignored: [], turnEnds: [], stops: ["."] });
  const shown: string[] = [];
  const account = new AnswerAccount(10, tokensMax);
  const writer = {
    decides,
    callCount: 0,
    isEnd: (token: Token) => token === endToken,
    write(token: Token) {
      if (token === failsAt) throw new Error("no text for this token");
      if (token === endToken) return { pieces: [], ended: true, reasoning: false };
      return { pieces: parser.push(texts[token]!), ended: parser.ended, reasoning: false };
    },
    end: () => parser.end(),
    holdCall: async () => {},
  };
  const hooks = { token: (pieces: readonly object[]) => void shown.push(JSON.stringify(pieces)) };
  return { teller: new AnswerTeller(writer, account, hooks, undefined), account, shown };
}

const take = (teller: AnswerTeller, token: number) => teller.take(token as Token) as AnswerEnd | undefined;

describe("what an answer's tokens show", () => {
  test("is told in a later turn, while the next token is computed, but for the first, which somebody waits for", async () => {
    const { teller, shown, account } = telling();
    expect(take(teller, 0)).toBeUndefined();
    expect(shown).toEqual([JSON.stringify([{ type: "text", text: "Hel" }])]);
    expect(take(teller, 1)).toBeUndefined();
    expect(shown).toHaveLength(1);
    await nextTurn();
    expect(shown).toHaveLength(2);
    expect(account.completionTokens).toBe(2);
  });

  test("is told at once where it may decide how the next token is chosen", async () => {
    const { teller, shown } = telling({ decides: true });
    expect(await teller.take(0 as Token)).toBeUndefined();
    expect(shown).toHaveLength(1);
  });

  test("ends with a stop text; a token that came after it is neither shown nor counted", async () => {
    const { teller, shown, account } = telling();
    for (const token of [0, 1, 2]) expect(take(teller, token)).toBeUndefined();
    await nextTurn();
    const before = shown.length;
    expect(take(teller, 3)).toMatchObject({ end: { finishReason: "stop" }, usage: { completionTokens: 3 } });
    await nextTurn();
    expect(shown).toHaveLength(before);
    expect(account.completionTokens).toBe(3);
  });

  test("ends at once with the token that ends it, or the last one it may have, after all before", () => {
    const ended = telling();
    take(ended.teller, 0);
    expect(take(ended.teller, endToken)).toMatchObject({
      end: { finishReason: "stop" },
      usage: { completionTokens: 2 },
    });
    expect(ended.shown).toHaveLength(2);
    const full = telling({ tokensMax: 2 });
    take(full.teller, 0);
    expect(take(full.teller, 1)).toMatchObject({ end: { finishReason: "length" }, usage: { completionTokens: 2 } });
  });

  test("is told and counted when the answer is cut", () => {
    const { teller, account } = telling();
    take(teller, 0);
    take(teller, 1);
    teller.tellLate();
    expect(account.completionTokens).toBe(2);
  });

  test("cannot be told: the answer fails with the reason at the next token, the process lives", async () => {
    const { teller } = telling({ failsAt: 1 });
    take(teller, 0);
    take(teller, 1);
    await nextTurn();
    expect(() => take(teller, 2)).toThrow("no text for this token");
  });
});
