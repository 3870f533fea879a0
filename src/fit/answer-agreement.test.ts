import { describe, expect, it } from "vitest";
import { expectPartsOfTotal } from "../../test/support/plan-sums.ts";
import { answerQuery, type FitsAnswer } from "./answer.ts";
import { parseQuery } from "./query.ts";
import { blocksToMarkdown, discordCharsMax, escapeMarkdown, renderBlocks, renderMarkdown } from "./render.ts";
import { answerSections } from "./render-sections.ts";
import { renderTerminal } from "./render-terminal.ts";

/** Kinds of question, in both languages; what is checked holds for each. */
const QUESTIONS = [
  "13b 6gb",
  "llama3.1:8b on 8gb vram",
  "Can I run Llama 3.3 70B on a single 3090?",
  "gpt-oss-120b on 128gb strix halo",
  "gpt oss 120b 3090 + 64gb ram",
  "qwen3-30b-a3b 8gb + 32gb ram llama.cpp",
  "2x3090 70b q4 32k context",
  "3090 + 3060 qwen2.5-72b",
  "4090 + 3060 12gb gemma 3 27b 32k ctx",
  "arc a770 16gb qwen3 14b",
  "radeon 780m 32gb qwen3 8b",
  "raspberry pi 5 8gb llama 3.2 3b",
  "epyc 512gb deepseek v3 q4",
  "kimi k2 4090 512gb ram",
  "deepseek r1 4060 laptop 32gb ram",
  "llama 2 13b ctx 16k 24gb",
  "qwen3 8b 8gb 16gb ram 4 users ctx 16k",
  "bge-m3 4gb",
  "nomic-embed-text cpu",
  "gemma 3 12b 8gb vision",
  "10b nf4 8gb",
  "13b awq vllm 24gb 10 users",
  "qwen3 8b fp8 vllm 16gb 32k ctx",
  "13b 6gb card 5.2gb free",
  "7b 8gb ctx 1m",
  "mac mini 24gb",
  "13b q4_k_m 6gb -ngl 20 -c 8192",
  "gtx 1650 4gb",
  "cpu 16gb ram",
  "claude 3.5 sonnet 24gb",
  "70b",
  "70b speed>30",
  "kimi k2",
  "what is nf4",
  "3060笔记本能跑什么",
  "两张3090能跑千问72B吗",
] as const;

function answer(text: string): FitsAnswer {
  return answerQuery(parseQuery(text));
}

/** Figures of a sentence, sorted; a count of one is a word in English. */
function figures(text: string): string[] {
  const plain = text.replace(/\bone layer\b/g, "1 layer").replace(/[,，]/g, " ");
  return [...plain.matchAll(/\d+(?:\.\d+)?/g)].map(([figure]) => figure).sort();
}

describe.each(QUESTIONS)("%s", (question) => {
  const found = answer(question);

  it("says the same figures in English and Chinese, line by line", () => {
    const pairs = [found.verdict.line, found.verdict.reason, found.query.echo, ...found.notes];
    for (const { en, zh } of [...pairs, ...found.alternatives.map(({ line }) => line)]) {
      expect(figures(zh), `${en} | ${zh}`).toEqual(figures(en));
    }
    const [english, chinese] = [answerSections(found, "en"), answerSections(found, "zh")];
    expect(chinese.map(({ key, lines }) => [key, lines.length])).toEqual(
      english.map(({ key, lines }) => [key, lines.length]),
    );
    english.forEach(({ lines }, index) => {
      lines.forEach((line, at) => {
        const other = chinese[index]!.lines[at]!;
        expect(figures(other), `${line} | ${other}`).toEqual(figures(line));
      });
    });
  });

  it("answers in one language: no English sentence is left in the Chinese text", () => {
    for (const { lines } of answerSections(found, "zh")) {
      for (const line of lines) expect(line).not.toMatch(/(?:\b[a-z]{2,}\b[ ,]+){4,}/);
    }
  });

  it("recommends nothing that lacks room, and every plan's parts are its whole", () => {
    const offers = [...found.alternatives, ...found.models, ...found.machines];
    const plans = [found.plan, ...offers.map(({ plan }) => plan)];
    for (const plan of plans) {
      // A load described in full is what was asked, not what is recommended.
      if (plan === undefined || (plan === found.plan && found.verdict.code === "none")) continue;
      expect(plan.fits).toBe(true);
      expect(plan.probability).toBeGreaterThanOrEqual(0.949);
      for (const device of plan.devices) {
        expect(device.totalBytes).toBeLessThanOrEqual(device.freeBytesBefore);
        expectPartsOfTotal(device);
      }
    }
  });

  it("prints settings that are the plan's own", () => {
    const { plan } = found;
    if (plan === undefined || plan.framework !== undefined) return;
    const { contextLength, sequenceCount } = plan.settings;
    // Of a load without room the part that has it, as the answer says.
    const [, part] = /^(?:.* )?(\d+) of \d+ layers would fit\.$/.exec(found.verdict.reason.en) ?? [];
    const gpuLayers = plan.fits ? plan.settings.gpuLayers : part;
    if (gpuLayers === undefined) {
      expect(found.launch).toEqual([]);
      return;
    }
    const text = (framework: string): string =>
      `${found.launch.find((recipe) => recipe.framework === framework)?.text ?? ""}\n`;
    if (plan.vectors !== true) {
      expect(text("snug")).toContain(`SNUG_CONTEXT=${contextLength}\n`);
      expect(text("snug")).toContain(`SNUG_SLOTS=${sequenceCount}\n`);
    }
    expect(text("llama.cpp")).toContain(` -c ${contextLength * sequenceCount} `);
    expect(text("llama.cpp")).toContain(` -ngl ${gpuLayers} `);
    expect(text("ollama")).toContain(`PARAMETER num_ctx ${contextLength}\n`);
    expect(text("lmstudio")).toContain(`--context-length ${contextLength}\n`);
  });

  it("says the same first line everywhere, and what was assumed or left out reaches the chat", () => {
    const { line } = found.verdict;
    for (const locale of ["en", "zh"] as const) {
      const terminal = renderTerminal(found, { locale, columns: 4000, colour: false });
      expect(terminal.split("\n")[0]).toBe(line[locale]);
      expect(renderMarkdown(found, locale)).toContain(escapeMarkdown(line[locale]));
      const chat = blocksToMarkdown(renderBlocks(found, { locale, charsMax: discordCharsMax }));
      for (const note of found.query.notes) expect(chat).toContain(escapeMarkdown(note[locale]));
    }
  });
});
