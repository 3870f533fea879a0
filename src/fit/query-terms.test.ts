import { describe, expect, it } from "vitest";
import { findTerm, GLOSSARY, readTerms } from "./query-terms.ts";

describe("the glossary", () => {
  it("gives each name to one entry alone", () => {
    const names = GLOSSARY.flatMap((term) => term.names.map((name) => name.replace(/[-_\s]+/g, " ")));
    const distinct = new Set(GLOSSARY.flatMap((term) => term.names));
    expect(distinct.size).toBe(GLOSSARY.flatMap((term) => term.names).length);
    for (const name of names) expect(findTerm(name), name).toBeDefined();
  });

  it("explains every entry in both languages, in one line that fits a chat message", () => {
    for (const { names, title, line } of GLOSSARY) {
      expect(title.en.length * title.zh.length, names[0]).toBeGreaterThan(0);
      expect(line.en, names[0]).toMatch(/[.)]$/);
      expect(line.zh, names[0]).toMatch(/[。）]$/);
      expect(line.en).not.toContain("\n");
      expect(line.en.length, names[0]).toBeLessThan(320);
    }
  });

  it("knows the words of the claims people arrive with", () => {
    for (const word of [
      "ptq",
      "qat",
      "nf4",
      "int8",
      "gptq",
      "awq",
      "kv cache",
      "double quantization",
      "compute dtype",
      "offload",
      "moe",
      "ttft",
    ]) {
      expect(findTerm(word), word).toBeDefined();
    }
  });
});

describe("questions about words", () => {
  it.each([
    ["what is nf4", "nf4"],
    ["what's the kv-cache?", "kv cache"],
    ["what does ttft mean", "ttft"],
    ["explain flash_attention", "flash attention"],
    ["nf4 是什么", "nf4"],
    ["什么是kv缓存", "kv cache"],
    ["q4_k_m什么意思", "q4_k_m"],
    ["moe", "moe"],
  ])("%s asks for %s", (text, id) => {
    expect(readTerms(text).terms.map(({ names }) => names[0])).toEqual([id]);
  });

  it("two words joined by vs or 和 ask for both", () => {
    expect(readTerms("gptq vs awq").terms).toHaveLength(2);
    expect(readTerms("ptq 和 qat 的区别").terms).toHaveLength(2);
  });

  it("a question about a model is none about a word", () => {
    expect(readTerms("what is the best model for 8gb").terms).toEqual([]);
    expect(readTerms("qwen3 8b vs llama 8b").terms).toEqual([]);
  });
});
