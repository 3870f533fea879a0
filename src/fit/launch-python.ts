/** Settings for the runtimes that read Hugging Face weights: Transformers with bitsandbytes, vLLM, TensorRT-LLM. */
import type { LaunchInput, LaunchRecipe } from "./launch.ts";
import { gibText, isGguf, wrap } from "./launch-gguf.ts";
import type { Localized } from "./query-types.ts";
import type { ModelSpec } from "./types.ts";

/** Share of a card vLLM may take in all; its default. */
const gpuMemoryUtilization = 0.9;

/** Bits per weight class of a quantization: which format of another runtime is nearest. */
export function weightBits(quantization: string): 4 | 8 | 16 | 32 {
  const name = quantization.toUpperCase();
  if (/^(?:F32|FP32)/.test(name)) return 32;
  if (/^(?:F16|BF16|FP16)/.test(name)) return 16;
  return /^(?:Q8|INT8|FP8|GPTQ-INT8|Q6)/.test(name) ? 8 : 4;
}

function repositoryOf({ plan, files }: LaunchInput): string {
  if (files.repository !== undefined) return files.repository;
  return plan.model.provenance === "size" ? "OWNER/MODEL" : plan.model.name.replace(/\s+/g, "-");
}

/** What differs when a GGUF plan is run in another format. */
function formatNote({ plan }: LaunchInput, taken: string): Localized[] {
  if (!isGguf(plan.model.quantization)) return [];
  return [
    {
      en: `${taken} instead of ${plan.model.quantization}: memory differs from this plan; ask for "${taken.toLowerCase()}" to see it.`,
      zh: `用 ${taken} 代替 ${plan.model.quantization}：占用与本方案不同；在问题里写“${taken.toLowerCase()}”可查看。`,
    },
  ];
}

/**
 * Transformers with bitsandbytes: weights in int8 or NF4, arithmetic in bf16, the output head left alone.
 * Checked: docs/source/en/quantization/bitsandbytes.md; Accelerate's big-model guide for device_map and max_memory.
 */
export function launchTransformers(input: LaunchInput): LaunchRecipe | undefined {
  const { plan, hardware } = input;
  if (hardware.backend !== "cuda" && hardware.backend !== "cpu") return undefined;
  const bits = weightBits(plan.model.quantization);
  const spilled = plan.offload !== "full" && hardware.gpus.length > 0;
  // Nested quantization is free to take where the plan left the format open.
  const doubleQuant = plan.model.quantization !== "nf4";
  const config = quantizationConfig(bits, spilled, doubleQuant);
  const memory = plan.devices.map((device, index) => {
    const key = device.kind === "host" ? '"cpu"' : `${index}`;
    // Accelerate's cap is for weights; what a device needs besides stays outside of it.
    const besides = device.totalBytes - device.weightBytes;
    return `${key}: "${gibText(Math.max(0, device.freeBytesBefore - besides))}"`;
  });
  const lines = [
    "import torch",
    `from transformers import AutoModelForCausalLM, AutoTokenizer${config === undefined ? "" : ", BitsAndBytesConfig"}`,
    "",
    `repository = "${repositoryOf(input)}"`,
    "model = AutoModelForCausalLM.from_pretrained(",
    "    repository,",
    `    dtype=torch.${bits === 32 ? "float32" : "bfloat16"},`,
    ...(config === undefined ? [] : [`    quantization_config=${config},`]),
    '    device_map="auto",',
    `    max_memory={${memory.join(", ")}},`,
    ")",
    "tokenizer = AutoTokenizer.from_pretrained(repository)",
  ];
  const notes = formatNote(input, bits === 4 ? "NF4" : bits === 8 ? "INT8" : bits === 16 ? "BF16" : "FP32");
  if (spilled && config !== undefined) {
    notes.push({
      en: "bitsandbytes keeps what lies on the CPU unquantized and runs it slowly; a GGUF plan suits a card this small better.",
      zh: "bitsandbytes 放在 CPU 上的部分不量化，而且很慢；这么小的显卡更适合 GGUF。",
    });
  }
  return {
    framework: "transformers",
    title: "Transformers + bitsandbytes",
    language: "python",
    text: lines.join("\n"),
    exact: !isGguf(plan.model.quantization),
    notes,
    source: "https://huggingface.co/docs/transformers/quantization/bitsandbytes",
  };
}

function quantizationConfig(bits: number, spilled: boolean, doubleQuant: boolean): string | undefined {
  const cpu = spilled ? ", llm_int8_enable_fp32_cpu_offload=True" : "";
  const skip = 'llm_int8_skip_modules=["lm_head"]';
  if (bits === 8) return `BitsAndBytesConfig(load_in_8bit=True, ${skip}${cpu})`;
  if (bits !== 4) return undefined;
  const parts = [
    "load_in_4bit=True",
    'bnb_4bit_quant_type="nf4"',
    `bnb_4bit_use_double_quant=${doubleQuant ? "True" : "False"}`,
    "bnb_4bit_compute_dtype=torch.bfloat16",
  ];
  return `BitsAndBytesConfig(\n        ${parts.join(",\n        ")},\n        ${skip}${cpu},\n    )`;
}

/** vLLM's name and file format for a weight class: what to look for, and the option that says it. */
function vllmFormat(quantization: string, bits: number): { option?: string; suffix: string; name: string } {
  const name = quantization.toLowerCase();
  if (name.startsWith("gptq"))
    return { option: "--quantization gptq", suffix: name.endsWith("8") ? "-GPTQ-Int8" : "-GPTQ-Int4", name: "GPTQ" };
  if (name === "awq") return { option: "--quantization awq", suffix: "-AWQ", name: "AWQ" };
  if (name === "nf4" || name === "int8")
    return { option: "--quantization bitsandbytes", suffix: "", name: name.toUpperCase() };
  if (bits === 8) return { option: "--quantization fp8", suffix: "", name: "FP8" };
  if (bits === 4) return { option: "--quantization awq", suffix: "-AWQ", name: "AWQ" };
  return { suffix: "", name: bits === 32 ? "FP32" : "BF16" };
}

/**
 * vLLM: tensor parallel inside a machine, pipeline parallel between machines on Ray. It holds everything on the GPUs,
 * so a plan with layers on the host has no vLLM form. Checked: docs.vllm.ai engine arguments, distributed serving.
 */
export function launchVllm(input: LaunchInput): LaunchRecipe | undefined {
  const { plan, hardware } = input;
  const cards = hardware.gpus.length;
  if (plan.offload !== "full" || cards === 0 || (hardware.backend !== "cuda" && hardware.backend !== "rocm"))
    return undefined;
  const { settings } = plan;
  const format = vllmFormat(plan.model.quantization, weightBits(plan.model.quantization));
  const repository = `${repositoryOf(input)}${format.suffix}`;
  const options = [
    repository,
    ...(format.option === undefined ? [] : [format.option]),
    `--max-model-len ${settings.contextLength}`,
    `--max-num-seqs ${settings.sequenceCount}`,
    `--gpu-memory-utilization ${gpuMemoryUtilization}`,
  ];
  const tensorParallel = tensorParallelSize(cards, input.model);
  if (cards > 1) options.push(`--tensor-parallel-size ${tensorParallel}`);
  if (cards > tensorParallel) options.push(`--pipeline-parallel-size ${cards / tensorParallel}`);
  if (settings.kvCacheTypeK !== "F16") options.push("--kv-cache-dtype fp8");
  const ray = [
    "# over several machines, on Ray:",
    "# first:  ray start --head --port=6379",
    "# others: ray start --address=FIRST_MACHINE:6379",
    "# then add: --distributed-executor-backend ray --pipeline-parallel-size MACHINES",
  ];
  return {
    framework: "vllm",
    title: "vLLM",
    language: "sh",
    text: `vllm serve ${wrap(options)}\n${ray.join("\n")}`,
    exact: !isGguf(plan.model.quantization),
    notes: formatNote(input, format.name),
    source: "https://docs.vllm.ai/en/latest/serving/engine_args.html",
  };
}

/** The most cards that share the attention heads evenly, which vLLM asks for; the rest stand one behind the other. */
export function tensorParallelSize(cards: number, model: Pick<ModelSpec, "layers">): number {
  const headCount = model.layers.find((layer) => layer.headCount > 0)?.headCount ?? cards;
  for (let count = cards; count > 1; count--) if (cards % count === 0 && headCount % count === 0) return count;
  return 1;
}

/** TensorRT-LLM: one flag chooses the format. Checked: examples/quantization/quantize.py, commands/trtllm-serve. */
export function launchTensorRt(input: LaunchInput): LaunchRecipe | undefined {
  const { plan, hardware } = input;
  const cards = hardware.gpus.length;
  if (plan.offload !== "full" || cards === 0 || hardware.backend !== "cuda") return undefined;
  const bits = weightBits(plan.model.quantization);
  const qformat =
    plan.model.quantization === "fp8" ? "fp8" : bits === 4 ? "int4_awq" : bits === 8 ? "int8_wo" : "full_prec";
  const parallel = cards > 1 ? ` --tp_size ${cards}` : "";
  const { settings } = plan;
  const lines = [
    "# in the TensorRT-LLM repository; --qformat is the whole choice: int8_wo, int4_awq, int4_wo, fp8, nvfp4",
    `python examples/quantization/quantize.py --model_dir ./model --qformat ${qformat} --output_dir ./checkpoint${parallel}`,
    `trtllm-build --checkpoint_dir ./checkpoint --output_dir ./engine --max_seq_len ${settings.contextLength} --max_batch_size ${settings.sequenceCount}`,
    "trtllm-serve ./engine --tokenizer ./model",
  ];
  return {
    framework: "tensorrt-llm",
    title: "TensorRT-LLM",
    language: "sh",
    text: lines.join("\n"),
    exact: false,
    notes: formatNote(input, qformat),
    source: "https://github.com/NVIDIA/TensorRT-LLM/tree/main/examples/quantization",
  };
}
