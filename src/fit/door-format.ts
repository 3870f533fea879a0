/** Which software runs a request's model, and in what format. */
import { AppError } from "../core/errors.ts";
import { pythonFrameworkOf } from "./answer-frameworks.ts";
import { isFormatName } from "./quantization-formats.ts";
import { findQuantization } from "./quantization-list.ts";
import { readQuantization } from "./query-quantization.ts";
import type { Framework } from "./query-types.ts";

export interface FormatReading {
  quantization?: string;
  framework?: Framework;
  /** How a name that may mean several things was taken. */
  notes: string[];
}

/**
 * A quantization says its software where only one kind runs it ("nf4", "awq"); a framework says what a vague name means
 * ("int4" is NF4 in Transformers, AWQ in vLLM, Q4_K_M in llama.cpp).
 *
 * @throws AppError invalid_request for a name nobody uses, and for a format the framework does not load
 */
export function formatOf(name: string | undefined, framework: Framework | undefined): FormatReading {
  if (name === undefined) return framework === undefined ? { notes: [] } : { framework, notes: [] };
  const known = findQuantization(name);
  // "bf16" is a format and a mix; without a framework it is the mix, as Snug's own engine is then meant.
  const read = readQuantization(name, framework);
  const quantization = exactName(known?.name, framework) ?? read?.quantization;
  if (quantization === undefined) throw wrong(`${JSON.stringify(name)} is no quantization Snug knows. Try Q4_K_M.`);
  const python = isFormatName(quantization) && !quantization.startsWith("mlx-");
  const own = framework ?? read?.framework ?? (python ? homeOf(known?.family) : undefined);
  if (python !== (pythonFrameworkOf(own) !== undefined)) throw wrong(mismatch(quantization, own));
  const note = read?.quantization === quantization ? read.note?.en : undefined;
  return { quantization, ...(own !== undefined && { framework: own }), notes: note === undefined ? [] : [note] };
}

/** A name that is one exactly, where it means the same whatever runs it. */
function exactName(known: string | undefined, framework: Framework | undefined): string | undefined {
  if (known === undefined || /^(?:b?f16|fp16|bf16|f32|fp32)$/i.test(known)) return undefined;
  // vLLM's int8 is GPTQ's, which the reading below knows.
  return known === "int8" && framework === "vllm" ? undefined : known;
}

function homeOf(family: string | undefined): Framework {
  return family === "transformers" ? "transformers" : "vllm";
}

function mismatch(quantization: string, framework: Framework | undefined): string {
  return isFormatName(quantization)
    ? `${quantization} is a format of Transformers and vLLM; ${framework ?? "Snug"} loads GGUF mixes such as Q4_K_M.`
    : `${quantization} is a GGUF mix; for ${framework} give bf16, fp8, int8, nf4, gptq-int4 or awq.`;
}

function wrong(message: string): AppError {
  return new AppError("invalid_request", message, { param: "quantization" });
}

/** The format a Hugging Face config says its weights are stored in. */
export function formatOfConfig(config: Readonly<Record<string, unknown>>): string | undefined {
  const stored = config.quantization_config;
  if (typeof stored !== "object" || stored === null) return undefined;
  const {
    quant_method: method,
    bits,
    load_in_8bit: eight,
    bnb_4bit_use_double_quant: double,
  } = stored as Record<string, unknown>;
  switch (method) {
    case "awq":
    case "fp8":
    case "mxfp4":
      return method;
    case "gptq":
      return bits === 8 ? "gptq-int8" : "gptq-int4";
    case "bitsandbytes":
      return eight === true ? "int8" : double === true ? "nf4-double" : "nf4";
    default:
      return undefined;
  }
}
