import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { answerQuery } from "./answer.ts";
import type { LaunchRecipe } from "./launch.ts";
import { shell, wrap } from "./launch-gguf.ts";
import { parseQuery } from "./query.ts";
import type { Framework } from "./query-types.ts";

const documented = readFileSync(new URL("../../docs/launch-settings.md", import.meta.url), "utf8");

const TEXTS = [
  "13b 6gb",
  "qwen3 8b 8gb",
  "qwen3 8b q4_k_m 12gb ctx 16k 4 users kv q8_0",
  "32b 2x16gb",
  "70b 4x24gb llama.cpp",
  "qwen3-30b-a3b 8gb + 32gb ram llama.cpp",
  "int8 10b 16g",
  "8b nf4 12gb",
  "70b awq 2x24gb",
  "7b gptq vllm 8gb",
  "8b fp8 vllm 24gb",
  "7b 16gb ram",
  "gpt-oss-20b m4 pro 48gb",
  "hf:unsloth/Qwen3-8B-GGUF:Q4_K_M 8gb",
  "8b bf16 transformers 3x24gb",
  "13b 8gb no flash attention ollama",
  "8b 3080 + 3090 kv q8",
];
const RECIPES: readonly (readonly [string, LaunchRecipe])[] = TEXTS.flatMap((text) =>
  answerQuery(parseQuery(text)).launch.map((recipe) => [`${text}: ${recipe.title}`, recipe] as const),
);

function recipe(text: string, framework: Framework): LaunchRecipe {
  const found = answerQuery(parseQuery(text)).launch.find((one) => one.framework === framework);
  if (found === undefined) throw new Error(`${text} has no recipe for ${framework}.`);
  return found;
}

/** Options of a recipe as they are written: flags, environment names, keyword arguments, Modelfile instructions. */
function optionsOf({ language, text }: LaunchRecipe): string[] {
  const flags = language === "python" ? [] : [...text.matchAll(/(?<=^|\s)--?[a-zA-Z][\w-]*/g)].map(([flag]) => flag);
  const variables = [...text.matchAll(/\b(?:OLLAMA|SNUG)_[A-Z_]+/g)].map(([name]) => name);
  const keywords = language === "python" ? [...text.matchAll(/\b([a-z][\w]*)=/g)].map(([, name]) => name!) : [];
  const instructions = [...text.matchAll(/^(FROM|PARAMETER \w+)/gm)].map(([, name]) => name!);
  return [...flags, ...variables, ...keywords, ...instructions];
}

describe("options", () => {
  it.each(RECIPES)("%s uses documented options only", (_, one) => {
    for (const option of optionsOf(one)) {
      // "-f" is ollama create's, in a comment of the Modelfile.
      if (option === "-f") continue;
      expect(documented, option).toContain(`\`${option}\``);
    }
    expect(one.source.length).toBeGreaterThan(5);
    expect(one.text).not.toMatch(/undefined|NaN|Infinity/);
  });

  it("the documentation lists nothing that no recipe uses", () => {
    const used = new Set(RECIPES.flatMap(([, one]) => optionsOf(one)));
    const table = documented.split("\n").filter((line) => line.startsWith("| ") && !line.startsWith("|---"));
    const listed = table.flatMap((line) => [...line.split("|")[2]!.matchAll(/`([^`]+)`/g)].map(([, name]) => name!));
    expect(listed.length).toBeGreaterThan(40);
    expect(listed.filter((name) => !used.has(name))).toEqual([]);
  });
});

describe("llama.cpp server", () => {
  it("gives -c for all slots together, and says the plan's every setting", () => {
    const { text } = recipe("qwen3 8b q4_k_m 12gb ctx 16k 4 users kv q8_0", "llama.cpp");
    expect(text).toContain("-c 65536 -np 4");
    expect(text).toContain("-ctk q8_0 -ctv q8_0");
    expect(text).toContain("-fa on");
  });

  it("splits over cards as the plan does", () => {
    const { plan, launch } = answerQuery(parseQuery("70b 4x24gb llama.cpp"));
    const { text } = launch.find(({ framework }) => framework === "llama.cpp")!;
    expect(text).toContain(`-ts ${plan!.settings.gpuLayerSplit.join(",")}`);
  });

  it("names the layers whose experts stay in main memory", () => {
    const { plan, launch } = answerQuery(parseQuery("qwen3-30b-a3b 8gb + 32gb ram llama.cpp"));
    const { hostExpertLayers } = plan!.settings;
    expect(hostExpertLayers).toBeGreaterThan(0);
    const { text } = launch.find(({ framework }) => framework === "llama.cpp")!;
    const blocks = /blk\\\.\(([\d|]+)\)/.exec(text)![1]!.split("|").map(Number);
    expect(blocks).toHaveLength(hostExpertLayers);
    expect(blocks.at(-1)).toBe(47);
  });
});

describe("Ollama", () => {
  it("puts layers and context in the Modelfile, slots and cache in the server's environment", () => {
    const { text } = recipe("qwen3 8b q4_k_m 12gb ctx 16k 4 users kv q8_0", "ollama");
    expect(text).toMatch(/^FROM hf\.co\/\S+:Q4_K_M$/m);
    expect(text).toContain("PARAMETER num_ctx 16384");
    expect(text).toContain("OLLAMA_NUM_PARALLEL=4 OLLAMA_FLASH_ATTENTION=1 OLLAMA_KV_CACHE_TYPE=q8_0");
  });
});

describe("LM Studio", () => {
  it("gives the share of layers on the GPU, max for all", () => {
    expect(recipe("qwen3 8b 8gb", "lmstudio").text).toContain("--gpu max");
    const { plan, launch } = answerQuery(parseQuery("13b 6gb"));
    const { text } = launch.find(({ framework }) => framework === "lmstudio")!;
    expect(Number(/--gpu ([\d.]+)/.exec(text)![1])).toBeCloseTo(plan!.settings.gpuLayers / 41, 2);
  });
});

describe("Transformers", () => {
  it("int8 and nf4 have their own configuration; 16 bits have none", () => {
    expect(recipe("int8 10b 16g", "transformers").text).toContain("load_in_8bit=True");
    const nf4 = recipe("8b nf4 12gb", "transformers").text;
    expect(nf4).toContain('bnb_4bit_quant_type="nf4"');
    expect(nf4).toContain("bnb_4bit_compute_dtype=torch.bfloat16");
    expect(nf4).toContain('llm_int8_skip_modules=["lm_head"]');
    expect(recipe("8b bf16 transformers 3x24gb", "transformers").text).not.toContain("BitsAndBytesConfig");
  });

  it("max_memory names every card and stays below its size", () => {
    const { text } = recipe("8b bf16 transformers 3x24gb", "transformers");
    const sizes = [...text.matchAll(/(\d): "(\d+)MiB"/g)].map(([, , mib]) => Number(mib));
    expect(sizes).toHaveLength(3);
    for (const mib of sizes) expect(mib).toBeLessThan(24 * 1024);
  });

  it("a GGUF plan says that its format and memory differ", () => {
    const one = recipe("qwen3 8b 8gb", "transformers");
    expect(one.exact).toBe(false);
    expect(one.notes[0]!.en).toContain("memory differs");
  });
});

describe("vLLM", () => {
  it("uses all cards, and only for plans that lie on them whole", () => {
    expect(recipe("70b awq 2x24gb", "vllm").text).toContain("--tensor-parallel-size 2");
    expect(answerQuery(parseQuery("13b 6gb")).launch.some(({ framework }) => framework === "vllm")).toBe(false);
  });

  it("three cards do not share 32 heads: layers are split instead", () => {
    const { text } = recipe("8b bf16 transformers 3x24gb", "vllm");
    expect(text).toContain("--tensor-parallel-size 1");
    expect(text).toContain("--pipeline-parallel-size 3");
  });
});

describe("writing", () => {
  it("the asked-for software comes first", () => {
    expect(answerQuery(parseQuery("8b 8gb ollama")).launch[0]?.framework).toBe("ollama");
    expect(answerQuery(parseQuery("8b awq vllm 12gb")).launch[0]?.framework).toBe("vllm");
  });

  it("hostile names stay inside their quotes", () => {
    expect(shell("./a b'; rm -rf /.gguf")).toBe("'./a b'\\''; rm -rf /.gguf'");
    expect(shell("./models/Qwen3-8B-Q4_K_M.gguf")).toBe("./models/Qwen3-8B-Q4_K_M.gguf");
  });

  it("long commands go on with a backslash", () => {
    const text = wrap(["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "c"]);
    expect(text.split(" \\\n  ").join(" ")).toBe(
      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa bbbbbbbbbbbbbbbbbbbbbbbbbbbbb c",
    );
  });
});
