/** "int8", "4bit", "q4km", "awq": which quantization is meant, for which software, and what was assumed. */
import type { Framework, Localized } from "./query-types.ts";

export interface QuantizationReading {
  /** As the planner spells it: "Q4_K_M", "nf4", "gptq-int4". */
  quantization: string;
  /** Set where the format runs in one kind of software only. */
  framework?: Framework;
  note?: Localized;
}

const GGUF_MIXES = [
  "F32",
  "F16",
  "BF16",
  "Q8_0",
  "Q6_K",
  "Q5_K_M",
  "Q5_K_S",
  "Q5_1",
  "Q5_0",
  "Q4_K_M",
  "Q4_K_S",
  "Q4_1",
  "Q4_0",
  "Q3_K_L",
  "Q3_K_M",
  "Q3_K_S",
  "Q2_K",
  "Q2_K_S",
  "IQ4_NL",
  "IQ4_XS",
  "IQ3_M",
  "IQ3_S",
  "IQ3_XS",
  "IQ3_XXS",
  "IQ2_M",
  "IQ2_S",
  "IQ2_XS",
  "IQ2_XXS",
  "IQ1_M",
  "IQ1_S",
  "TQ1_0",
  "TQ2_0",
  "MXFP4",
];

const UNSLOTH_MIXES = [
  "Q8_K_XL",
  "Q6_K_XL",
  "Q5_K_XL",
  "Q4_K_XL",
  "Q3_K_XL",
  "Q2_K_XL",
  "IQ3_XXS",
  "IQ2_XXS",
  "IQ2_M",
  "IQ1_M",
  "IQ1_S",
];

/** Squashed spelling to the mix's name. */
const MIX_BY_KEY = new Map<string, string>([
  ...GGUF_MIXES.map((name) => [squash(name), name] as const),
  ...UNSLOTH_MIXES.map((name) => [squash(`UD${name}`), `UD-${name}`] as const),
  ...UNSLOTH_MIXES.filter((name) => name.endsWith("XL")).map((name) => [squash(name), `UD-${name}`] as const),
]);

/** What people mean when they leave the end off. */
const SHORT: Record<string, string> = {
  q8: "Q8_0",
  q6: "Q6_K",
  q5: "Q5_K_M",
  q4: "Q4_K_M",
  q3: "Q3_K_M",
  q2: "Q2_K",
  q5k: "Q5_K_M",
  q4k: "Q4_K_M",
  q3k: "Q3_K_M",
  q8k: "Q8_0",
  iq4: "IQ4_XS",
  iq3: "IQ3_M",
  iq2: "IQ2_M",
  iq1: "IQ1_M",
  tq1: "TQ1_0",
  tq2: "TQ2_0",
};

const HALF = new Set(["fp16", "f16", "float16"]);
const BRAIN = new Set(["bf16", "bfloat16"]);
const SINGLE = new Set(["fp32", "f32", "float32"]);

function squash(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, "");
}

function isPython(framework: Framework | undefined): boolean {
  return framework === "transformers" || framework === "vllm" || framework === "tensorrt-llm";
}

/** What `name` means in `framework` (undefined: our own engine); undefined when it is no quantization we know. */
export function readQuantization(name: string, framework: Framework | undefined): QuantizationReading | undefined {
  const key = squash(name);
  const python = isPython(framework);
  if (framework === "mlx") return readMlx(key);
  if (HALF.has(key)) return { quantization: python ? "fp16" : "F16" };
  if (BRAIN.has(key)) return { quantization: python ? "bf16" : "BF16" };
  if (SINGLE.has(key)) return { quantization: python ? "fp32" : "F32" };
  const mix = MIX_BY_KEY.get(key);
  if (mix !== undefined) return { quantization: mix };
  const short = SHORT[key];
  if (short !== undefined)
    return short.toLowerCase().startsWith(`${key}_0`) ? { quantization: short } : shortened(name, short);
  return readFormat(key, framework, python);
}

/** MLX packs weights in 4 or 8 bits; the planner takes the GGUF mix of the same size for it. */
function readMlx(key: string): QuantizationReading {
  const bits = /8/.test(key) ? 8 : /16/.test(key) ? 16 : 4;
  const mix = bits === 16 ? "F16" : bits === 8 ? "Q8_0" : "Q4_K_M";
  return {
    quantization: bits === 16 ? "BF16" : `mlx-${bits}bit`,
    note: {
      en: `MLX ${bits}-bit is planned as GGUF ${mix}, which takes about the same.`,
      zh: `MLX ${bits} 位按占用相近的 GGUF ${mix} 规划。`,
    },
  };
}

function shortened(name: string, mix: string): QuantizationReading {
  return {
    quantization: mix,
    note: { en: `I took ${name} as ${mix}, the usual mix.`, zh: `把 ${name} 当作常用的 ${mix}。` },
  };
}

function readFormat(key: string, framework: Framework | undefined, python: boolean): QuantizationReading | undefined {
  switch (key) {
    case "nf4":
    case "fp4":
      return {
        quantization: "nf4",
        ...(python ? {} : { framework: "transformers" as const, note: bitsandbytesNote(key) }),
      };
    case "int8":
      if (framework === "vllm") return { quantization: "gptq-int8" };
      if (python || framework === undefined) {
        return {
          quantization: "int8",
          framework: framework ?? "transformers",
          ...(framework === undefined ? { note: int8Note } : {}),
        };
      }
      return { quantization: "Q8_0", note: counterpart("int8", "Q8_0") };
    case "8bit":
      return python
        ? readFormat("int8", framework, python)
        : { quantization: "Q8_0", note: counterpart("8-bit", "Q8_0") };
    case "int4":
    case "4bit":
    case "w4a16":
      return fourBit(key, framework);
    case "fp8":
    case "w8a8":
    case "w8a16":
      return {
        quantization: key === "fp8" ? "fp8" : "int8",
        framework: python ? framework! : "vllm",
        ...(python ? {} : { note: formatNote(key, "vLLM") }),
      };
    case "gptq":
    case "gptq4":
    case "gptqint4":
      return { quantization: "gptq-int4", framework: framework ?? "vllm" };
    case "gptq8":
    case "gptqint8":
      return { quantization: "gptq-int8", framework: framework ?? "vllm" };
    case "awq":
    case "awq4":
    case "awqint4":
      return { quantization: "awq", framework: framework ?? "vllm" };
    case "nvfp4":
      return { quantization: "nvfp4", framework: python ? framework! : "vllm" };
    default:
      return undefined;
  }
}

function fourBit(key: string, framework: Framework | undefined): QuantizationReading {
  const said = key === "w4a16" ? "W4A16" : key === "int4" ? "int4" : "4-bit";
  if (framework === "transformers") return { quantization: "nf4", note: counterpart(said, "NF4") };
  if (framework === "vllm" || framework === "tensorrt-llm")
    return { quantization: "awq", note: counterpart(said, "AWQ") };
  if (key === "w4a16") return { quantization: "gptq-int4", framework: "vllm" };
  return { quantization: "Q4_K_M", note: counterpart(said, "Q4_K_M") };
}

function counterpart(said: string, taken: string): Localized {
  return { en: `I took ${said} as ${taken}.`, zh: `把 ${said} 当作 ${taken}。` };
}

const int8Note: Localized = {
  en: "I took int8 as LLM.int8 in Transformers; in GGUF its counterpart is Q8_0.",
  zh: "int8 按 Transformers 的 LLM.int8 计算；GGUF 中对应 Q8_0。",
};

function bitsandbytesNote(key: string): Localized {
  const name = key.toUpperCase();
  return {
    en: `${name} is a bitsandbytes format, so I planned for Transformers; in GGUF its counterpart is Q4_K_M.`,
    zh: `${name} 是 bitsandbytes 的格式，因此按 Transformers 规划；GGUF 中对应 Q4_K_M。`,
  };
}

function formatNote(key: string, software: string): Localized {
  return {
    en: `${key.toUpperCase()} runs in ${software}, so I planned for that.`,
    zh: `${key.toUpperCase()} 在 ${software} 中运行，因此按它规划。`,
  };
}
