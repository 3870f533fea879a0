import { describe, expect, it } from "vitest";
import { answerQuery } from "./answer.ts";
import { pictureTitle, renderPicture } from "./answer-picture.ts";
import { textWidth } from "./picture.ts";
import { parseQuery } from "./query.ts";

const titleOf = (query: string, locale: "en" | "zh") => pictureTitle(answerQuery(parseQuery(query)), locale);

describe("a picture's title", () => {
  it.each([
    [
      "13b 6gb",
      "13B model Q4_K_M on a 6 GB GPU",
      /^\d\d of 41 layers on the GPU · 4k context · about [\d.]+ tokens\/s$/,
    ],
    ["qwen3-8b q4_k_m 8gb", "Qwen3 8B Q4_K_M on an 8 GB GPU", /^fully on the GPU · 8k context · about \d+ tokens\/s$/],
    ["32b q4_k_m 2x16gb", "32B model Q4_K_M on 2 GPUs of 16 GB", /^fully on the GPUs/],
    ["8b q4_k_m cpu 32gb", "8B model Q4_K_M · CPU only + 32 GB RAM", /^on the CPU · /],
    [
      "qwen3-30b-a3b q4_k_m llama.cpp 8gb + 32gb ram",
      "Qwen3 30B A3B Q4_K_M on an 8 GB GPU",
      /^experts of \d+ layers in main memory/,
    ],
    ["10b nf4 8gb", "10B model nf4 on an 8 GB GPU", /^does not fit · 8k context · [\d.]+ GiB is missing$/],
    ["llama 3.1 70b q4_k_m", "Llama 3.1 70B Q4_K_M on 2x RTX 3090 24 GB", /^fully on the GPUs/],
  ])("of %s names model and machine, and below how it goes", (query, title, subtitle) => {
    expect(titleOf(query, "en").title).toBe(title);
    expect(titleOf(query, "en").subtitle).toMatch(subtitle);
  });

  it.each([
    ["13b 6gb", "6 GB 显卡上的 13B 模型 Q4_K_M", /^41 层中 \d\d 层在显卡 · 4k 上下文 · 约 [\d.]+ tokens\/s$/],
    ["qwen3-8b q4_k_m 4090", "RTX 4090 24 GB 上的 Qwen3 8B Q4_K_M", /^完整放进显卡/],
    ["10b nf4 8gb", "8 GB 显卡上的 10B 模型 nf4", /^放不下 · /],
  ])("of %s is Chinese where that is asked for", (query, title, subtitle) => {
    expect(titleOf(query, "zh").title).toBe(title);
    expect(titleOf(query, "zh").subtitle).toMatch(subtitle);
  });

  it("for a machine names the model the bars show", () => {
    const answer = answerQuery(parseQuery("6gb"));
    const { name } = answer.models[0]!.plan.model;
    expect(pictureTitle(answer, "en").title).toContain(`${name} `);
    expect(renderPicture(answer, "en")).toContain(`>${pictureTitle(answer, "en").title}</text>`);
  });

  it("of a load that overflows says so, and of an embedding model no writing speed", () => {
    const { subtitle } = titleOf("13b 6gb -ngl 20 ctx 8k q4_k_m", "en");
    expect(subtitle).toMatch(/^does not fit · 8k context · .* is missing$/);
    expect(titleOf("bge-m3 4gb", "en").subtitle).toBe("fully on the GPU · 8k context");
  });

  it("is never cut, and its second line neither", () => {
    const queries = [
      "13b 6gb",
      "6gb",
      "70b",
      "qwen3-30b-a3b 8gb + 32gb ram",
      "gpt-oss-120b 3090 + 4060 ti 16gb + 64gb ram",
    ];
    for (const query of queries) {
      for (const locale of ["en", "zh"] as const) {
        const { subtitle } = titleOf(query, locale);
        expect(textWidth(subtitle, 13)).toBeLessThan(664);
        const svg = renderPicture(answerQuery(parseQuery(query)), locale)!;
        expect(svg.slice(0, svg.indexOf("<rect class="))).not.toContain("…");
        expect(svg).toContain(`>${subtitle}</text>`);
      }
    }
  });
});
