import { describe, expect, it } from "vitest";
import { AppError } from "../core/errors.ts";
import { GIB } from "../core/units.ts";
import { answerQuery, type FitsAnswer } from "./answer.ts";
import type { VerdictCode } from "./answer-types.ts";
import { specFromParameterCount } from "./model.ts";
import { planFit } from "./plan.ts";
import { parseQuery } from "./query.ts";
import { renderTerminal } from "./render-terminal.ts";

function answer(text: string): FitsAnswer {
  return answerQuery(parseQuery(text));
}

describe("verdicts", () => {
  it.each<[string, VerdictCode]>([
    ["13b 6gb", "partial"],
    ["qwen3 4b 6gb", "full"],
    ["32b 2x16gb", "full"],
    ["70b fp16 2x16gb 16gb ram", "none"],
    ["13b fp16 2x16gb", "full"],
    ["405b 8gb", "none"],
    ["7b 16gb ram", "cpu"],
    ["qwen3-30b-a3b 8gb + 32gb ram", "partial"],
    ["gpt-oss-20b m4 pro 48gb", "full"],
    ["6gb", "models"],
    ["3060笔记本能跑什么", "models"],
    ["70b", "machines"],
    ["what is nf4", "term"],
    ["int8 10b 16g", "full"],
    ["32b fp16 vllm 2x16gb", "none"],
  ])("%s: %s", (text, code) => {
    expect(answer(text).verdict.code).toBe(code);
  });

  it("the first line says yes, partly or no before anything else", () => {
    expect(answer("qwen3 4b 6gb").verdict.line.en).toMatch(/^Yes/);
    expect(answer("13b 6gb").verdict.line.en).toMatch(/^Partly: \d+ of 41 layers/);
    expect(answer("70b fp16 2x16gb 16gb ram").verdict.line.en).toMatch(/^No/);
    expect(answer("qwen3 4b 6gb").verdict.line.zh).toMatch(/^可以/);
    expect(answer("13b 6gb").verdict.line.zh).toMatch(/^部分可以/);
    expect(answer("70b fp16 2x16gb 16gb ram").verdict.line.zh).toMatch(/^不行/);
  });

  it("a speed asked for and missed is said in the verdict", () => {
    const { verdict, plan } = answer("13b 6gb speed>20");
    expect(plan?.speed.decodeTokensPerSecond).toBeLessThan(20);
    expect(verdict.line.en).toContain("less than the 20 you asked for");
    expect(verdict.line.zh).toContain("低于要求的 20");
  });

  it("the reason of a full plan adds up to what the plan holds", () => {
    const { plan, verdict } = answer("qwen3 8b q4_k_m 12gb");
    const total = plan!.devices.find(({ kind }) => kind === "gpu")!.totalBytes;
    expect(verdict.reason.en).toContain(
      `${(total / GIB).toFixed(2).replace(/0+$/, "").replace(/\.$/, "")} GiB of 12 GiB`,
    );
  });
});

describe("plans", () => {
  it("the plan answered is the planner's own", () => {
    const query = parseQuery("13b q4_k_m 8gb ctx 4k");
    const planned = planFit(specFromParameterCount(13e9), query.hardware!, {
      buildFamily: "node-llama-cpp",
      ...query.wish,
    });
    expect(answerQuery(query).plan).toMatchObject({ settings: planned.kind === "plan" ? planned.settings : {} });
  });

  it("software of the llama.cpp family is planned with its own build", () => {
    expect(answer("8b llama.cpp 8gb").plan?.settings.buildFamily).toBe("llama-server");
    expect(answer("8b 8gb").plan?.settings.buildFamily).toBe("node-llama-cpp");
  });

  it.each(["llama.cpp", "ollama"])("%s is planned with a cache for each user, as its recipe starts it", (framework) => {
    const cache = (users: string) =>
      answer(`qwen3-8b q4_k_m 24gb ctx 8k ${users} ${framework}`).plan?.devices.reduce(
        (sum, { kvCacheBytes }) => sum + kvCacheBytes,
        0,
      );
    expect(cache("8 users")).toBe(8 * cache("1 user")!);
    const { launch } = answer(`qwen3-8b q4_k_m 24gb ctx 8k 8 users ${framework}`);
    expect(launch.find(({ framework: of }) => of === "llama.cpp")?.text).toContain("-c 65536 -np 8");
  });

  it("Transformers and vLLM are planned with their own memory", () => {
    const { plan } = answer("int8 10b 16g");
    expect(plan?.framework).toBe("transformers");
    expect(plan?.model.quantization).toBe("int8");
    const [gpu] = plan!.devices;
    expect(gpu!.weightBytes + gpu!.kvCacheBytes + gpu!.computeBufferBytes + gpu!.runtimeBytes).toBe(gpu!.totalBytes);
    expect(gpu!.weightBytes).toBeGreaterThan(10e9 * 0.95);
  });

  it("a family without a size becomes the member that serves best, and says so", () => {
    const { plan, notes } = answer("qwen3 8gb");
    expect(plan?.speed.decodeTokensPerSecond).toBeGreaterThan(8);
    expect(plan?.model.name).toMatch(/^Qwen3 \d/);
    expect(notes.map(({ en }) => en).join(" ")).toContain("comes in several sizes");
  });

  it("a file that was not read is planned by its name, and says so", () => {
    const { plan, notes } = answer("hf:unsloth/Qwen3-8B-GGUF:Q5_K_M 8gb");
    expect(plan?.model).toMatchObject({ name: "Qwen3 8B", quantization: "Q5_K_M" });
    expect(notes.map(({ en }) => en).join(" ")).toContain("was not read");
  });

  it("a file nobody knows is refused with what to do", () => {
    try {
      answer("hf:owner/unheard-of 8gb");
      expect.unreachable();
    } catch (error) {
      expect(error instanceof AppError && error.code).toBe("model_not_found");
      expect((error as AppError).message).toContain('Give its size, like "8b"');
    }
  });

  it("a header that was read is planned with the file's own types", () => {
    const spec = {
      ...specFromParameterCount(8e9, { name: "mine" }),
      provenance: "gguf" as const,
      quantization: "Q6_K",
    };
    const { plan } = answerQuery(parseQuery("hf:owner/mine 12gb"), { model: spec });
    expect(plan?.model).toMatchObject({ name: "mine", quantization: "Q6_K" });
  });

  it("measured runs correct the speed", () => {
    const query = parseQuery("qwen3 8b q4_k_m rtx 3060 12gb");
    const before = answerQuery(query).plan!;
    const measured = [
      {
        model: specFromParameterCount(8e9),
        settings: before.settings,
        hardware: query.hardware!,
        depthTokens: 512,
        decodeTokensPerSecond: before.speed.decodeTokensPerSecond / 2,
      },
    ];
    const after = answerQuery(query, { measured }).plan!;
    expect(after.speed.decodeTokensPerSecond).toBeLessThan(before.speed.decodeTokensPerSecond * 0.75);
  });

  it("speed falls, or stays, as the context fills", () => {
    const { speedByContext } = answer("qwen3 14b 24gb ctx 32k");
    expect(speedByContext.at(-1)?.contextTokens).toBe(32_768);
    for (let index = 1; index < speedByContext.length; index++) {
      expect(speedByContext[index]!.tokensPerSecond).toBeLessThanOrEqual(speedByContext[index - 1]!.tokensPerSecond);
    }
  });
});

describe("alternatives", () => {
  it("13b on 6gb: a model that fits whole and is faster, and the card that would hold all", () => {
    const { plan, alternatives } = answer("13b 6gb");
    const model = alternatives.find(({ kind }) => kind === "model");
    expect(model?.plan?.offload).toBe("full");
    expect(model!.plan!.speed.decodeTokensPerSecond).toBeGreaterThan(plan!.speed.decodeTokensPerSecond * 2);
    const card = alternatives.find(({ kind }) => kind === "memory");
    const gib = Number(/(\d+) GB/.exec(card!.line.en)![1]);
    const { contextLength, quantization, kvCacheTypeK, kvCacheTypeV } = plan!.settings;
    const wish = { contextLength, quantization: quantization!, kvCacheTypeK, kvCacheTypeV };
    const larger = planFit(specFromParameterCount(13e9), parseQuery(`13b ${gib}gb`).hardware!, wish);
    expect(larger.kind === "plan" && larger.offload).toBe("full");
  });

  it("a mixture of experts that does not fit: experts in main memory, and how fast", () => {
    const { plan, alternatives } = answer("qwen3-30b-a3b 8gb + 32gb ram");
    const experts = alternatives.find(({ kind }) => kind === "experts");
    expect(experts?.plan?.settings.hostExpertLayers).toBeGreaterThan(0);
    expect(experts!.plan!.speed.decodeTokensPerSecond).toBeGreaterThan(plan!.speed.decodeTokensPerSecond);
  });

  it("16 bits that do not fit: the best quantization that does", () => {
    const { alternatives } = answer("32b fp16 2x16gb");
    const smaller = alternatives.find(({ kind }) => kind === "quantization");
    expect(smaller?.plan?.offload).toBe("full");
    expect(smaller!.plan!.quality.perplexityIncreasePercent).toBeLessThan(5);
  });

  it("a plan that fits: one step smaller, with what it saves and what it costs", () => {
    const { plan, alternatives } = answer("qwen3 8b 8gb");
    const trade = alternatives.find(({ kind }) => kind === "quantization");
    expect(trade!.plan!.speed.decodeTokensPerSecond).toBeGreaterThan(plan!.speed.decodeTokensPerSecond);
    expect(trade!.line.en).toMatch(/saves .* instead of .* perplexity \+.* % instead of \+/);
  });

  it("a format of Transformers: the same weights as GGUF", () => {
    const gguf = answer("int8 10b 16g").alternatives.find(({ kind }) => kind === "gguf");
    expect(gguf?.plan?.model.quantization).toBe("Q8_0");
  });

  it("too long a context: the length at which all of it fits", () => {
    const context = answer("qwen3 8b q4_k_m 8gb ctx 64k kv f16").alternatives.find(({ kind }) => kind === "context");
    expect(context?.plan?.offload).toBe("full");
    expect(context!.plan!.settings.contextLength).toBeLessThan(65_536);
  });
});

describe("what an answer says is so", () => {
  const said = (text: string): string => {
    const { verdict, notes } = answer(text);
    return [verdict.line.en, verdict.reason.en, ...notes.map(({ en }) => en)].join(" ");
  };

  it("a load described in full that has no room is refused, with how many layers would fit", () => {
    const { verdict, plan } = answer("llama.cpp -ngl 20 -c 8192 13b q4_k_m 6gb");
    expect(plan!.fits).toBe(false);
    expect(verdict.code).toBe("none");
    expect(answer("13b q4_k_m 6gb -ngl 20 ctx 8k").speedByContext).toEqual([]);
    expect(verdict.line.en).toBe("No: with these settings a 13B model at Q4_K_M does not fit safely on a 6 GB GPU.");
    const layers = Number(/(\d+) of 41 layers would fit/.exec(verdict.reason.en)?.[1]);
    expect(layers).toBeLessThan(20);
    expect(answer(`llama.cpp -ngl ${layers} -c 8192 13b q4_k_m 6gb`).plan!.fits).toBe(true);
    expect(answer("7b 8gb -ngl 0 ctx 4k").verdict.line.en).toMatch(/^On the CPU, as asked: /);
    expect(answer("13b 6gb -ngl 10 ctx 4k").verdict.code).toBe("partial");
  });

  it("settings are printed for the layers that fit, and none where nothing does", () => {
    const { verdict, launch } = answer("llama.cpp -ngl 20 -c 8192 13b q4_k_m 6gb");
    const layers = /(\d+) of 41 layers would fit/.exec(verdict.reason.en)?.[1];
    expect(launch[0]!.text).toContain(`-ngl ${layers} `);
    expect(answer("70b q8_0 8gb 16gb ram -ngl 81 -c 8192").launch).toEqual([]);
  });

  it("a machine without a card is spoken of as one, in both languages", () => {
    expect(answer("32gb ram").verdict.line.en).toMatch(/^On a machine with 32 GB RAM and no GPU I would run /);
    expect(answer("32gb ram").verdict.line.zh).toMatch(/^在内存 32 GB、没有显卡的机器上推荐 /);
    expect(answer("13b 8gb ram cpu only").verdict.line.zh).toMatch(/^不行：内存 8 GB、没有显卡的机器放不下 13B 模型/);
    expect(answer("70b fp16 8gb 16gb ram").verdict.line.zh).toMatch(/内存 16 GB 放不下 /);
    expect(answer("rtx 4090").verdict.line.zh).toMatch(/^在 RTX 4090 24 GB 上推荐 /);
  });

  it("settings speak the reader's language around names", () => {
    const chinese = renderTerminal(answer("qwen3-8b 8gb"), { locale: "zh", columns: 80, colour: false });
    expect(chinese).toMatch(/\n设置：Snug \(\.env\)\n/);
    expect(chinese).toMatch(/把这几行写入 \.env，然后运行 npm start。/);
    expect(chinese).not.toMatch(/then/);
  });

  it("what fits but is slower than asked is no plain yes, and faster models are named", () => {
    const { verdict, alternatives, plan } = answer("13b 16gb speed>100");
    expect(verdict.line.en).toMatch(/^Yes, but not that fast: .* less than the 100 you asked for\.$/);
    const model = alternatives.find(({ kind }) => kind === "model");
    expect(model!.plan!.speed.decodeTokensPerSecond).toBeGreaterThan(plan!.speed.decodeTokensPerSecond);
  });

  it("a second size in a question is said to be left out", () => {
    expect(said("which is better for 24gb 32b q4 or 14b q8")).toContain("I left out 14B");
  });

  it("a context beyond the trained one is called so; a bare size has none to be beyond", () => {
    expect(said("llama 2 13b ctx 16k 24gb")).toContain("Llama 2 13B was trained for 4k of context");
    expect(said("llama 3.1 8b ctx 64k 24gb")).not.toContain("trained for");
    expect(said("7b ctx 64k 24gb")).not.toContain("trained for");
  });

  it("an embedding model reads; it has no speed of writing and no perplexity", () => {
    const { verdict, plan, alternatives } = answer("bge-m3 4gb");
    expect(verdict.line.en).toMatch(/reading about \d+ tokens\/s/);
    expect(plan).toMatchObject({ vectors: true });
    expect(plan!.quality.perplexityIncreasePercent).toBeUndefined();
    expect(alternatives).toEqual([]);
    expect(answer("bge-m3 4gb").speedByContext).toEqual([]);
    const server = answer("bge-m3 4gb").launch.find(({ framework }) => framework === "llama.cpp");
    expect(server!.text).toContain("--embeddings");
    expect(answer("qwen3 embedding 0.6b 4gb").plan).toMatchObject({ vectors: true });
  });

  it("gpt-oss loses next to nothing by a mix, since its experts stay as published", () => {
    const { plan } = answer("gpt-oss 20b q4_k_m 16gb");
    expect(plan!.quality.perplexityIncreasePercent).toBeUndefined();
    expect(plan!.quality.source).toContain("experts stay in MXFP4");
  });

  it("a plan for pictures counts the projector, one for text does not", () => {
    const bytes = (text: string): number => answer(text).plan!.devices[0]!.runtimeBytes;
    const server = (text: string): string =>
      answer(text).launch.find(({ framework }) => framework === "llama.cpp")!.text;
    expect(server("gemma 3 12b q4_k_m 16gb")).toContain("--no-mmproj");
    expect(server("gemma 3 12b q4_k_m 16gb vision")).not.toContain("--no-mmproj");
    expect(bytes("gemma 3 12b q4_k_m 16gb vision") - bytes("gemma 3 12b q4_k_m 16gb")).toBeGreaterThan(700 * 2 ** 20);
  });

  it("layers in main memory set the pace only where the speed waits for them", () => {
    const slow = answer("llama 3.3 70b 3090");
    expect(slow.plan!.speed.bottleneck).toBe("CPU layers");
    expect(slow.verdict.reason.en).toMatch(/the \d+ layers left in main memory set the pace\.$/);
    const near = answer("2x3090 70b q4_k_m 32k context");
    expect(near.plan!.speed.bottleneck).toBe("memory bandwidth");
    expect(near.verdict.reason.en).not.toContain("set");
  });

  it("a recommended model that lies partly in main memory says how much of both it takes", () => {
    expect(answer("gtx 1650 4gb").verdict.reason.en).toMatch(/GiB on the GPU and [\d.]+ GiB of main memory/);
  });

  it("one step of quantization changes nothing else: less weight never takes more memory", () => {
    for (const text of ["qwen3 4b 4gb", "7b 6gb", "14b 12gb", "gemma 3 12b 12gb", "llama 3.1 8b 8gb"]) {
      const { plan, alternatives } = answer(text);
      for (const { kind, plan: other } of alternatives) {
        if (kind !== "quantization" || plan?.offload !== "full" || other === undefined) continue;
        expect(other.settings.kvCacheTypeK, text).toBe(plan.settings.kvCacheTypeK);
        expect(other.settings.microBatchSize, text).toBe(plan.settings.microBatchSize);
      }
    }
  });

  it("what no usual mix fits is offered in the largest that does", () => {
    const { verdict, alternatives } = answer("kimi k2 4090 512gb ram");
    expect(verdict.code).toBe("none");
    const resort = alternatives.find(({ kind }) => kind === "quantization");
    expect(resort?.plan?.fits).toBe(true);
    expect(resort!.line.en).toMatch(/runs from main memory with .* tokens\/s/);
  });

  it("who names a model that has distills without a size is told of them", () => {
    expect(said("deepseek r1 4060 laptop")).toContain('add the size, as in "deepseek r1 8b"');
    expect(said("deepseek r1 8b 8gb")).not.toContain("distill of it");
  });

  it("a plan slower than reading names models that are faster", () => {
    const { plan, alternatives } = answer("phi-4 8gb");
    expect(plan!.speed.decodeTokensPerSecond).toBeLessThan(12);
    const model = alternatives.find(({ kind }) => kind === "model");
    expect(model!.plan!.speed.decodeTokensPerSecond).toBeGreaterThan(plan!.speed.decodeTokensPerSecond);
  });

  it("on a CPU the bandwidth is main memory's, in Chinese too", () => {
    const found = answer("cpu 32gb ram 7b");
    expect(found.plan!.speed.bottleneck).toBe("memory bandwidth");
    expect(renderTerminal(found, { locale: "zh", columns: 200, colour: false })).not.toContain("显存带宽");
  });
});

describe("every answer", () => {
  const texts = ["1b", "3b", "8b", "13b", "32b", "70b", "qwen3-30b-a3b", "gemma 3 27b", "deepseek v3", "405b"].flatMap(
    (model) =>
      ["4gb", "6gb laptop", "24gb", "2x16gb", "m4 pro 48gb", "32gb ram", "3090 + 128gb ram", "6gb card 4.1gb free"].map(
        (machine) => `${model} ${machine}`,
      ),
  );
  const more = [
    "8b nf4 8gb",
    "70b awq 2x24gb",
    "8b fp8 vllm 24gb",
    "8b 24gb 8 users ctx 32k",
    "8gb code",
    "24gb long context",
    "4gb fast",
    "128gb ram cpu only",
    "70b speed>30",
    "671b",
    "0.5b",
  ];

  it.each([...texts, ...more])("%s is whole, finite and survives JSON", (text) => {
    const found = answer(text);
    const json = JSON.stringify(found);
    expect(JSON.parse(json)).toEqual(found);
    expect(json).not.toMatch(/NaN|Infinity|undefined|\[object/);
    const walk = (value: unknown, path: string): void => {
      if (typeof value === "number") expect(Number.isFinite(value), path).toBe(true);
      else if (value !== null && typeof value === "object")
        for (const [key, one] of Object.entries(value)) walk(one, `${path}.${key}`);
    };
    walk(found, "answer");
    for (const line of [found.verdict.line, found.verdict.reason]) {
      expect(line.en).toMatch(/[.)]$/);
      expect(line.zh).toMatch(/[。）]$/);
    }
    if (found.plan !== undefined) {
      expect(found.plan.speed.decodeLow).toBeLessThanOrEqual(found.plan.speed.decodeTokensPerSecond);
      expect(found.plan.speed.decodeHigh).toBeGreaterThanOrEqual(found.plan.speed.decodeTokensPerSecond);
      expect(found.launch.length).toBeGreaterThan(0);
    }
  });
});
