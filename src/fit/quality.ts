/** What a quantization costs in quality: perplexity and KL divergence as measured on models near in size and kind. */
import data from "./data/quality.json" with { type: "json" };
import type { ModelSpec } from "./types.ts";

export interface QualityEstimate {
  /** Perplexity above the unquantized model's, percent. Absent: nobody has measured this format. */
  perplexityIncreasePercent?: number;
  /** Mean KL divergence from the unquantized model's next-token distribution, nats. */
  klDivergence?: number;
  /** Where the numbers come from, and how far the model at hand is from the measured one. */
  source: string;
}

export interface QualityOptions {
  /** The file was quantized with an importance matrix. I-quants always are. */
  importanceMatrix?: boolean;
}

/** Models trained on trillions of tokens lose more by rounding than Llama 1 and 2 did. */
type Era = "dense" | "imatrix" | "early";

interface QualityTable {
  model: string;
  parameters: number;
  era: Era;
  source: string;
  rows: Readonly<Record<string, readonly number[]>>;
}

const TABLES = data.tables as unknown as readonly QualityTable[];
const FORMATS = data.formats as unknown as readonly (readonly [string, Era, number, string])[];

/** KL divergence is carried to models up to this factor from the measured size. */
const sizeFactorMax = 4;

/** `quantization` is a mix ("Q4_K_M", "UD-Q4_K_XL") or another format ("int8", "awq", "fp8", "bf16"). */
export function estimateQuality(
  model: Pick<ModelSpec, "architecture" | "parameterCount" | "vocabularySize" | "expertCount">,
  quantization: string,
  options: QualityOptions = {},
): QualityEstimate {
  const name = plainName(quantization);
  if (/^(?:F32|FP32|F16|FP16|BF16)$/.test(name)) {
    return { perplexityIncreasePercent: 0, klDivergence: 0, source: "the unquantized model" };
  }
  const published = asPublished(model, name);
  if (published !== undefined) return published;
  const era: Era = isEarly(model) ? "early" : "dense";
  const eras: Era[] = options.importanceMatrix && era === "dense" ? ["imatrix", "dense"] : [era];
  for (const own of [...eras, ...otherEras(era)]) {
    const tables = TABLES.filter((table) => table.era === own && table.rows[name] !== undefined);
    if (tables.length > 0) return fromTables(model, name, tables, own === era || own === "imatrix");
  }
  return fromFormats(name, era);
}

/**
 * gpt-oss is published with its experts in MXFP4, nineteen parts of twenty of it, and every mix keeps them. What a dense
 * model loses by the mix says nothing here.
 */
function asPublished({ architecture }: Pick<ModelSpec, "architecture">, name: string): QualityEstimate | undefined {
  if (architecture !== "gpt-oss") return undefined;
  if (name.startsWith("MXFP4")) {
    return { perplexityIncreasePercent: 0, klDivergence: 0, source: "the model was trained in this format" };
  }
  if (/^(?:Q[4-8]|IQ4)/.test(name)) {
    return { source: "next to nothing: the experts stay in MXFP4, as they were published" };
  }
  return { source: "the experts stay in MXFP4, as they were published; nobody has measured the rest" };
}

function otherEras(era: Era): Era[] {
  return era === "dense" ? ["early"] : ["dense"];
}

function isEarly(model: Pick<ModelSpec, "architecture" | "vocabularySize">): boolean {
  return model.architecture === "llama" && model.vocabularySize > 0 && model.vocabularySize <= 32_016;
}

/** A publisher's mix counts as the plain one it is nearest to. */
function plainName(quantization: string): string {
  const name = quantization.toUpperCase().replace(/^UD-/, "");
  const known: Record<string, string> = {
    Q2_K_XL: "Q2_K",
    Q2_K_L: "Q2_K",
    Q3_K_XL: "Q3_K_L",
    Q4_K_XL: "Q4_K_M",
    Q4_K_L: "Q4_K_M",
    Q5_K_XL: "Q5_K_M",
    Q5_K_L: "Q5_K_M",
    Q6_K_XL: "Q6_K",
    Q6_K_L: "Q6_K",
    Q8_K_XL: "Q8_0",
  };
  return known[name] ?? name;
}

/** Between two measured sizes the increase is interpolated on logarithmic scales; beyond them the nearest holds. */
function fromTables(
  model: Pick<ModelSpec, "parameterCount" | "expertCount">,
  name: string,
  tables: readonly QualityTable[],
  sameEra: boolean,
): QualityEstimate {
  const size = Math.log(model.parameterCount);
  const sorted = [...tables].sort((a, b) => a.parameters - b.parameters);
  const above = sorted.find((table) => Math.log(table.parameters) >= size) ?? sorted.at(-1)!;
  const below = sorted.findLast((table) => Math.log(table.parameters) <= size) ?? sorted[0]!;
  const span = Math.log(above.parameters / below.parameters);
  const share = span === 0 ? 0 : (size - Math.log(below.parameters)) / span;
  const increase = mix(below.rows[name]![0]!, above.rows[name]![0]!, share);
  const nearest = share > 0.5 ? above : below;
  const kl = tables.find((table) => table.rows[name]!.length > 1);
  const near = kl !== undefined && Math.abs(Math.log(kl.parameters) - size) <= Math.log(sizeFactorMax);
  const estimate: QualityEstimate = {
    perplexityIncreasePercent: round(increase),
    source: describe(below, above, nearest, model, sameEra),
  };
  if (near) estimate.klDivergence = kl.rows[name]![1]!;
  return estimate;
}

function mix(low: number, high: number, share: number): number {
  if (low <= 0 || high <= 0) return low + (high - low) * share;
  return Math.exp(Math.log(low) + (Math.log(high) - Math.log(low)) * share);
}

function describe(
  below: QualityTable,
  above: QualityTable,
  nearest: QualityTable,
  model: Pick<ModelSpec, "parameterCount" | "expertCount">,
  sameEra: boolean,
): string {
  const measured = below === above ? `measured on ${below.model}` : `between ${below.model} and ${above.model}`;
  const notes: string[] = [];
  if (model.parameterCount < below.parameters / 2) notes.push("smaller models lose more");
  if (model.expertCount > 0) notes.push("dense models were measured, this one has experts");
  if (!sameEra) notes.push("an older model; newer ones lose more");
  const note = notes.length === 0 ? "" : ` (${notes.join("; ")})`;
  return `${measured}${note}: ${nearest.source}`;
}

function fromFormats(name: string, era: Era): QualityEstimate {
  const key = name
    .toLowerCase()
    .replace(/^(?:llm\.)?int8.*$|^w8a8.*$|^gptq-int8$/, "int8")
    .replace(/^(?:gptq|gptq-4bit|gptq-int4)$/, "gptq-int4")
    .replace(/^awq.*$/, "awq");
  const found = FORMATS.find((row) => row[0] === key && row[1] === era) ?? FORMATS.find((row) => row[0] === key);
  if (found) return { perplexityIncreasePercent: found[2], source: found[3] };
  return { source: `no published measurement of ${name.slice(0, 40)} is at hand` };
}

function round(percent: number): number {
  return Number(percent.toPrecision(3));
}
