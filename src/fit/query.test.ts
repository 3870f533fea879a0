import { describe, expect, it } from "vitest";
import { AppError } from "../core/errors.ts";
import { fitQueryCharsMax } from "../core/limits.ts";
import { GIB } from "../core/units.ts";
import { parseQuery } from "./query.ts";

function refusal(text: string): AppError {
  try {
    parseQuery(text);
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
  throw new Error(`"${text}" was understood.`);
}

function notes(text: string): string {
  return parseQuery(text)
    .notes.map(({ en }) => en)
    .join(" ");
}

describe("the answer's parts", () => {
  it("a size and a card's memory make a fit question", () => {
    const query = parseQuery("13b 6gb");
    expect(query.kind).toBe("fit");
    expect(query.model).toEqual({ kind: "size", parameterCount: 13e9 });
    expect(query.hardware?.gpus).toEqual([{ id: "gpu0", vramBytesTotal: 6 * GIB }]);
    expect(query.hardware?.backend).toBe("cuda");
  });

  it("a named card brings its bandwidth and generation", () => {
    const [gpu] = parseQuery("4090").hardware?.gpus ?? [];
    expect(gpu?.bandwidthBytesPerSecond).toBeCloseTo(1008e9, -10);
    expect(gpu?.generation).toBe("ada");
  });

  it("a laptop word turns the card into its laptop part", () => {
    const [gpu] = parseQuery("13b 3060 laptop").hardware?.gpus ?? [];
    expect(gpu?.laptop).toBe(true);
    expect(gpu?.vramBytesTotal).toBe(6 * GIB);
  });

  it("unified memory gives the GPU a share and the machine the whole", () => {
    const hardware = parseQuery("m4 pro 48gb 70b").hardware;
    expect(hardware?.unifiedMemory).toBe(true);
    expect(hardware?.ramBytesTotal).toBe(48 * GIB);
    expect(hardware?.backend).toBe("metal");
  });

  it("cards of different vendors meet in Vulkan", () => {
    expect(parseQuery("3090 + 7900 xtx").hardware?.backend).toBe("vulkan");
  });

  it("a free reading belongs to the card, not to a second one", () => {
    const hardware = parseQuery("13b 6gb card 5.2gb free").hardware;
    expect(hardware?.gpus).toHaveLength(1);
    expect(hardware?.gpus[0]?.vramBytesFree).toBe(5.2 * GIB);
  });

  it("two sizes joined by a plus are two cards when the second is no larger", () => {
    expect(parseQuery("12gb + 8gb").hardware?.gpus.map(({ vramBytesTotal }) => vramBytesTotal / GIB)).toEqual([12, 8]);
  });

  it("the planner's wish carries what was fixed, and nothing else", () => {
    const { wish } = parseQuery(
      "8b q5_k_m 8gb ctx 16k 4 users kv q8_0 no flash attention ngl 20 batch 256 keep 1gb free",
    );
    expect(wish).toEqual({
      quantization: "Q5_K_M",
      contextLength: 16_384,
      sequenceCount: 4,
      kvCacheTypeK: "Q8_0",
      kvCacheTypeV: "Q8_0",
      flashAttention: false,
      gpuLayers: 20,
      batchSize: 256,
      reserveBytes: GIB,
    });
    expect(parseQuery("8b 8gb").wish).toEqual({});
  });

  it("a length tells the long model from the short one of the same name", () => {
    expect(parseQuery("phi 3 mini 128k 12gb").model).toEqual({ kind: "catalogue", name: "Phi 3 Mini 128k" });
    expect(parseQuery("phi 3 mini 12gb").model).toEqual({ kind: "catalogue", name: "Phi 3 Mini 4k" });
  });

  it("a family without a size offers its sizes as candidates", () => {
    const { model } = parseQuery("qwen3 8gb");
    expect(model?.kind).toBe("family");
    expect(model?.kind === "family" ? model.candidates : []).toContain("Qwen3 8B");
  });

  it("a file's name suggests the catalogue's model and the quantization", () => {
    expect(parseQuery("hf:unsloth/Qwen3-8B-GGUF:Q4_K_M 8gb").model).toEqual({
      kind: "gguf",
      location: "hf:unsloth/Qwen3-8B-GGUF:Q4_K_M",
      catalogueName: "Qwen3 8B",
      quantization: "Q4_K_M",
    });
  });

  it("file references keep their case", () => {
    const { model } = parseQuery("hf:Owner/Repo-GGUF:Dir/Model-Q8_0.gguf 8GB");
    expect(model?.kind === "gguf" ? model.location : "").toBe("hf:Owner/Repo-GGUF:Dir/Model-Q8_0.gguf");
  });

  it("the language follows the question", () => {
    expect(parseQuery("13B 6G显存").locale).toBe("zh");
    expect(parseQuery("13b 6gb").locale).toBe("en");
  });

  it("the echo is in both languages", () => {
    expect(parseQuery("13B 6G显存 + 32G内存 8个用户").echo).toEqual({
      en: "13B model · 6 GB GPU + 32 GB RAM · 8 users",
      zh: "13B 模型 · 6 GB GPU + 内存 32 GB · 8 个用户",
    });
  });

  it("a framework and a format of another kind are reconciled and said", () => {
    const query = parseQuery("7b nf4 ollama 8gb");
    expect(query.framework).toBe("transformers");
    expect(notes("7b nf4 ollama 8gb")).toContain("does not run in Ollama");
  });
});

describe("ambiguity", () => {
  it.each([
    ["13b 32gb 6gb", "I took 32 GiB as system memory."],
    ["4090 64gb", "I took 64 GiB as system memory."],
    ["13 6gb", "I read 13 as 13B parameters."],
    ["13b 6", "I read 6 as 6 GB of VRAM."],
    ["llama 70b 24gb", "I took Llama 3.3 70B; there is also Llama 3.1 70B"],
    ["3060", "I took the RTX 3060 12 GB; there is also RTX 3060 8GB, RTX 3060 Laptop 6 GB."],
    ["7b 16gb ram", "No GPU was named"],
    ["foobar 13b 8gb", 'I do not know "foobar"'],
    ["qwen3 9b 8gb", "no Qwen3 of 9B"],
    ["7b int4 6gb", "I took int4 as Q4_K_M."],
    ["llama 3.1 8b gemma 3 4b 8gb", "One model at a time"],
    ["8b 8gb lol", 'I left out "lol".'],
    ["rtx 3090 20gb", "No RTX 3090 has 20 GiB"],
  ])("%s is resolved and said", (text, said) => {
    expect(notes(text)).toContain(said);
  });

  it("says nothing where nothing was ambiguous", () => {
    expect(parseQuery("qwen3-8b q4_k_m 8gb ctx 16k").notes).toEqual([]);
    expect(parseQuery("13B 6G显存").notes).toEqual([]);
  });
});

describe("what cannot be read", () => {
  it.each([
    ["lama 3.1 70b 24gb", "llama 3.1 70b 24gb"],
    ["qwne3 8b 8gb", "qwen3 8b 8gb"],
    ["mistrl 7b", "mistral 7b"],
    ["gema 3 12b", "gemma 3 12b"],
    ["deepsek r1", "deepseek r1"],
    ["rtx 4900 70b", "rtx 4090 70b"],
    ["what is nf5", "what is nf4"],
  ])("%s is taken for a slip, and %s suggested", (text, suggestion) => {
    const error = refusal(text);
    expect(error.code).toBe("invalid_request");
    expect(error.details?.suggestions).toContain(suggestion);
  });

  it("every suggestion is itself understood", () => {
    for (const text of ["lama 3.1 70b 24gb", "qwne3 8b", "ctx 16k", "q4_k_m 16k ctx"]) {
      const { suggestions } = refusal(text).details as { suggestions: string[] };
      for (const suggestion of suggestions) expect(() => parseQuery(suggestion)).not.toThrow();
    }
  });

  it.each([
    "",
    "   ",
    "hello",
    "gpu",
    "tell me a joke",
    "帮我写首诗",
    "8",
    "?!",
    "nvidia",
    "13b 0gb",
    "0b 6gb",
    "13b 99999gb",
    "9999999b",
  ])("%j is refused with examples in both languages", (text) => {
    const error = refusal(text);
    expect(error.code).toBe("invalid_request");
    expect(error.message).toContain("13b 6gb");
    const { sentences, examples } = error.details as { sentences: Record<string, string>; examples: string[] };
    expect(sentences.zh).toContain("试试");
    for (const example of examples) expect(() => parseQuery(example)).not.toThrow();
  });

  it("a question without model and card says which part is missing", () => {
    expect(refusal("ctx 16k").message).toContain("Name a model");
  });

  it("an entry the glossary lacks is said, with the nearest", () => {
    expect(refusal("what is perplexty").details?.suggestions).toEqual(["what is perplexity"]);
  });

  it("too long a question is refused by its length", () => {
    expect(refusal("6gb ".repeat(fitQueryCharsMax)).message).toContain(`${fitQueryCharsMax} is the most`);
  });
});

describe("hostile text", () => {
  const alphabets = [
    "0123456789",
    "8x",
    "a",
    "q4_",
    "- ",
    "gb ",
    "1.",
    "(((",
    "显存",
    "\u0000\u200b",
    "𝟙𝟚",
    "ﷺ",
    "x2*",
    "hf:a/",
    "/.",
    "8b a3b ",
  ];

  it.each(alphabets)("%j repeated to the limit is answered or refused at once", (unit) => {
    const text = unit.repeat(Math.ceil(fitQueryCharsMax / unit.length)).slice(0, fitQueryCharsMax);
    const start = performance.now();
    try {
      parseQuery(text);
    } catch (error) {
      expect(error).toBeInstanceOf(AppError);
    }
    // A blow-up of the patterns would take seconds; a second leaves room for a busy machine.
    expect(performance.now() - start).toBeLessThan(1000);
  });

  it("random mixtures never fail in any other way than invalid_request", () => {
    const words = [
      "13b",
      "6gb",
      "x2",
      "4090",
      "qwen3",
      "显存",
      "ctx",
      "16k",
      "+",
      "ram",
      "int8",
      "kv",
      "q8",
      ">",
      "20",
      "t/s",
      "-",
      "hf:a/b",
      "的",
      "laptop",
      "2x",
      "8x7b",
      "free",
      "keep",
    ];
    let seed = 7;
    const next = (): number => {
      seed = (seed * 1103515245 + 12345) % 2 ** 31;
      return seed / 2 ** 31;
    };
    for (let round = 0; round < 3000; round++) {
      const text = Array.from(
        { length: 1 + Math.floor(next() * 9) },
        () => words[Math.floor(next() * words.length)],
      ).join(next() < 0.2 ? "" : " ");
      try {
        const { echo, kind } = parseQuery(text);
        expect(echo.en.length, text).toBeGreaterThan(0);
        expect(["fit", "models", "hardware", "term"]).toContain(kind);
      } catch (error) {
        expect(error instanceof AppError && error.code, text).toBe("invalid_request");
      }
    }
  });
});

describe("machines without a card", () => {
  it("a board's one size is its main memory, at the board's own speed", () => {
    const { hardware } = parseQuery("raspberry pi 5 8gb llama 3.2 3b");
    expect(hardware).toMatchObject({ gpus: [], backend: "cpu", ramBytesTotal: 8 * GIB });
    expect(hardware!.ramBandwidthBytesPerSecond).toBeCloseTo(17.1e9);
  });

  it.each([
    ["epyc 512gb 70b", 204.8e9, "8 x DDR4-3200"],
    ["epyc 9654 512gb ddr5 70b", 537.6e9, "12 x DDR5-5600"],
    ["n100 16gb 3b", 25.6e9, "1 x DDR4-3200"],
    ["8b 12gb 64gb ddr5", 89.6e9, "2 x DDR5-5600"],
    ["8b 12gb 64gb ddr5-6000", 96e9, "2 x DDR5-6000"],
    ["8b 12gb + 32gb ddr4 3600mhz", 57.6e9, "2 x DDR4-3600"],
  ])("%s: main memory moves %d bytes a second, and the note says %s", (text, rate, label) => {
    expect(parseQuery(text).hardware!.ramBandwidthBytesPerSecond).toBeCloseTo(rate);
    expect(notes(text)).toContain(label);
  });

  it("a usual desktop's memory is left to the speed model's own assumption", () => {
    expect(parseQuery("i7-12700k 32gb 8b").hardware!.ramBandwidthBytesPerSecond).toBeUndefined();
  });

  it("a Mac without a chip gets the speed of the slowest new one sold with that memory, and is told so", () => {
    const mini = parseQuery("mac mini 24gb 8b").hardware!;
    expect(mini).toMatchObject({ name: "Mac 24 GB", backend: "metal", unifiedMemory: true });
    expect(mini.gpus[0]!.bandwidthBytesPerSecond).toBeLessThan(200e9);
    const studio = parseQuery("mac studio 512gb 8b").hardware!;
    expect(studio.gpus[0]!.name).toBe("Apple M3 Ultra");
    expect(notes("mac studio 512gb 8b")).toContain("the speed is the Apple M3 Ultra's");
  });

  it("unified memory of no named chip is taken as DDR5, not as a graphics card's", () => {
    expect(parseQuery("64gb unified memory 8b").hardware!.gpus[0]!.bandwidthBytesPerSecond).toBeCloseTo(89.6e9);
  });

  it("a card nobody knows is planned by the memory given, and the note says so", () => {
    expect(notes("qwen3 4b gtx 970 4gb")).toBe('I do not know the card "gtx 970"; I planned by its memory alone.');
  });
});

describe("what the planner does not plan", () => {
  it.each([
    ["can I fine tune llama 3 8b on 12gb with qlora", "not training it"],
    ["3060 12G 微调 7B", "not training it"],
    ["whisper large v3 6gb", "Whisper is not one"],
    ["stable diffusion xl 8gb", "Stable Diffusion is not one"],
    ["flux.1 dev 12gb", "FLUX is not one"],
    ["chatgpt", "not published"],
    ["gpt-4o", "not published"],
  ])("%s is refused: %s", (text, reason) => {
    expect(refusal(text).message).toContain(reason);
    const { sentences } = refusal(text).details as { sentences: { zh: string } };
    expect(sentences.zh).toMatch(/[\u4e00-\u9fff]/);
  });

  it.each(["claude 3.5 sonnet 24gb", "gpt-4 on 8gb", "gemini 2.5 pro 16gb", "豆包 8g显存"])(
    "%s: a closed model is said to be closed, and what the machine runs is answered",
    (text) => {
      expect(parseQuery(text).kind).toBe("models");
      expect(notes(text)).toContain("not published");
    },
  );

  it.each(["gpt-oss 20b 16gb", "fine-tuned llama 3 8b 8gb", "gemma 3 12b 12gb", "gpt4all 7b 8gb"])(
    "%s is planned: its name only looks like theirs",
    (text) => {
      expect(parseQuery(text).kind).toBe("fit");
      expect(notes(text)).not.toContain("not published");
    },
  );

  it.each(["70b on 4 machines with 24gb each", "70b 2台电脑 24g显存"])(
    "%s: one machine is planned, and said so",
    (text) => {
      expect(notes(text)).toMatch(/^I plan one machine\./);
    },
  );

  it("a version is no size", () => {
    expect(parseQuery("foobar v3 8gb").kind).toBe("models");
    expect(parseQuery("foobar 3.5 flash 128gb").kind).toBe("models");
    expect(notes("foobar 3.5 flash 128gb")).toContain('I do not know "foobar"');
  });
});
