/** The typical shape of a model when only its size is said: "13b", "30b-a3b". */
import { AppError } from "../core/errors.ts";
import { formatParameterCount } from "../core/units.ts";
import { metadataOfFacts, type ShapeFacts } from "./shape-facts.ts";

interface Reference {
  /** Whose shape it is, for the sentence shown with the answer. */
  like: string;
  count: number;
  active?: number;
  facts: ShapeFacts;
}

const llama3 = { arch: "llama", head: 128, vocab: 128_256, context: 131_072 } as const;
const qwen3 = { arch: "qwen3", head: 128, vocab: 151_936, context: 40_960 } as const;
const llama2 = { arch: "llama", head: 128, vocab: 32_000, context: 4096, tied: false } as const;
const qwen2 = { arch: "qwen2", head: 128, vocab: 152_064, context: 32_768, tied: false } as const;
const qwen3moe = { arch: "qwen3moe", head: 128, vocab: 151_936, context: 40_960, tied: false } as const;

/** One usual model per size people name; shapes from the models' published configurations. */
const REFERENCES: readonly Reference[] = [
  {
    like: "SmolLM2 135M",
    count: 134_515_008,
    facts: {
      arch: "llama",
      layers: 30,
      width: 576,
      heads: 9,
      headsKv: 3,
      head: 64,
      ffn: 1536,
      vocab: 49_152,
      context: 8192,
      tied: true,
    },
  },
  {
    like: "SmolLM2 360M",
    count: 361_821_120,
    facts: {
      arch: "llama",
      layers: 32,
      width: 960,
      heads: 15,
      headsKv: 5,
      head: 64,
      ffn: 2560,
      vocab: 49_152,
      context: 8192,
      tied: true,
    },
  },
  {
    like: "Qwen3 0.6B",
    count: 596_049_920,
    facts: { ...qwen3, layers: 28, width: 1024, heads: 16, headsKv: 8, ffn: 3072, tied: true },
  },
  {
    like: "Llama 3.2 1B",
    count: 1_235_814_400,
    facts: { ...llama3, head: 64, layers: 16, width: 2048, heads: 32, headsKv: 8, ffn: 8192, tied: true },
  },
  {
    like: "Qwen3 1.7B",
    count: 1_720_574_976,
    facts: { ...qwen3, layers: 28, width: 2048, heads: 16, headsKv: 8, ffn: 6144, tied: true },
  },
  {
    like: "Llama 3.2 3B",
    count: 3_212_749_824,
    facts: { ...llama3, layers: 28, width: 3072, heads: 24, headsKv: 8, ffn: 8192, tied: true },
  },
  {
    like: "Qwen3 4B",
    count: 4_022_468_096,
    facts: { ...qwen3, layers: 36, width: 2560, heads: 32, headsKv: 8, ffn: 9728, tied: true },
  },
  {
    like: "Mistral 7B v0.3",
    count: 7_248_023_552,
    facts: {
      arch: "llama",
      layers: 32,
      width: 4096,
      heads: 32,
      headsKv: 8,
      head: 128,
      ffn: 14_336,
      vocab: 32_768,
      context: 32_768,
      tied: false,
    },
  },
  {
    like: "Llama 3.1 8B",
    count: 8_030_261_248,
    facts: { ...llama3, layers: 32, width: 4096, heads: 32, headsKv: 8, ffn: 14_336, tied: false },
  },
  {
    like: "Mistral Nemo 12B",
    count: 12_247_782_400,
    facts: {
      arch: "llama",
      layers: 40,
      width: 5120,
      heads: 32,
      headsKv: 8,
      head: 128,
      ffn: 14_336,
      vocab: 131_072,
      context: 131_072,
      tied: false,
    },
  },
  {
    like: "Llama 2 13B",
    count: 13_015_864_320,
    facts: { ...llama2, layers: 40, width: 5120, heads: 40, headsKv: 40, ffn: 13_824 },
  },
  {
    like: "Qwen3 14B",
    count: 14_768_307_200,
    facts: { ...qwen3, layers: 40, width: 5120, heads: 40, headsKv: 8, ffn: 17_408, tied: false },
  },
  {
    like: "Mistral Small 24B",
    count: 23_572_403_200,
    facts: {
      arch: "llama",
      layers: 40,
      width: 5120,
      heads: 32,
      headsKv: 8,
      head: 128,
      ffn: 32_768,
      vocab: 131_072,
      context: 32_768,
      tied: false,
    },
  },
  {
    like: "Qwen3 32B",
    count: 32_762_123_264,
    facts: { ...qwen3, layers: 64, width: 5120, heads: 64, headsKv: 8, ffn: 25_600, tied: false },
  },
  {
    like: "Yi 34B",
    count: 34_388_917_248,
    facts: {
      arch: "llama",
      layers: 60,
      width: 7168,
      heads: 56,
      headsKv: 8,
      head: 128,
      ffn: 20_480,
      vocab: 64_000,
      context: 4096,
      tied: false,
    },
  },
  {
    like: "Llama 3.1 70B",
    count: 70_553_706_496,
    facts: { ...llama3, layers: 80, width: 8192, heads: 64, headsKv: 8, ffn: 28_672, tied: false },
  },
  {
    like: "Qwen2.5 72B",
    count: 72_706_203_648,
    facts: { ...qwen2, layers: 80, width: 8192, heads: 64, headsKv: 8, ffn: 29_568 },
  },
  {
    like: "Mistral Large 123B",
    count: 122_610_069_504,
    facts: {
      arch: "llama",
      layers: 88,
      width: 12_288,
      heads: 96,
      headsKv: 8,
      head: 128,
      ffn: 28_672,
      vocab: 32_768,
      context: 131_072,
      tied: false,
    },
  },
  {
    like: "Llama 3.1 405B",
    count: 405_853_388_800,
    facts: { ...llama3, layers: 126, width: 16_384, heads: 128, headsKv: 8, ffn: 53_248, tied: false },
  },
  {
    like: "Qwen3 30B A3B",
    count: 30_532_122_624,
    active: 3.35e9,
    facts: { ...qwen3moe, layers: 48, width: 2048, heads: 32, headsKv: 4, ffn: 6144, experts: [128, 8, 768] },
  },
  {
    like: "Mixtral 8x7B",
    count: 46_702_792_704,
    active: 12.9e9,
    facts: {
      arch: "llama",
      layers: 32,
      width: 4096,
      heads: 32,
      headsKv: 8,
      head: 128,
      ffn: 14_336,
      vocab: 32_000,
      context: 32_768,
      experts: [8, 2, 14_336],
      tied: false,
    },
  },
  {
    like: "gpt-oss 120B",
    count: 116_829_156_672,
    active: 5.1e9,
    facts: {
      arch: "gpt-oss",
      layers: 36,
      width: 2880,
      heads: 64,
      headsKv: 8,
      head: 64,
      ffn: 2880,
      vocab: 201_088,
      context: 131_072,
      experts: [128, 4, 2880],
      window: 128,
    },
  },
  {
    like: "Qwen3 235B A22B",
    count: 235_093_634_560,
    active: 22.2e9,
    facts: { ...qwen3moe, layers: 94, width: 4096, heads: 64, headsKv: 4, ffn: 12_288, experts: [128, 8, 1536] },
  },
];

const countMin = 1e6;
const countMax = 1e14;
/** Beyond this distance from a reference the feed-forward width is stretched to meet the count. */
const nearEnough = 0.06;

/** Metadata of the usual shape for `count` parameters, of which `active` are read per token for a mixture of experts. */
export function typicalShape(count: number, active?: number) {
  if (!Number.isFinite(count) || count < countMin || count > countMax) {
    throw new AppError("invalid_request", "A model's size must lie between 1 million and 100 trillion parameters.");
  }
  const moe = active !== undefined && active < 0.9 * count;
  const distance = (one: Reference) =>
    Math.abs(Math.log(one.count / count)) + (moe ? 0.5 * Math.abs(Math.log((one.active ?? one.count) / active)) : 0);
  const candidates = REFERENCES.filter((one) => (one.active !== undefined) === moe);
  const best = candidates.reduce((left, right) => (distance(right) < distance(left) ? right : left));
  const facts = scaled(best, count);
  const size = moe
    ? `${formatParameterCount(count)} with ${formatParameterCount(active)} active`
    : formatParameterCount(count);
  const stretched = facts === best.facts ? "" : ", scaled to the size";
  return {
    ...metadataOfFacts(facts),
    assumptions: [`Only the size is known (${size}); the shape of ${best.like} is assumed${stretched}.`],
  };
}

/** The reference with blocks added or taken for coarse steps and widths stretched for the rest. */
function scaled(reference: Reference, count: number): ShapeFacts {
  const { facts } = reference;
  if (Math.abs(reference.count / count - 1) <= nearEnough) return facts;
  const sheets = facts.width * facts.vocab * (facts.tied ? 1 : 2);
  const bodyWanted = Math.max(count * 0.2, count - sheets);
  const perLayer = (reference.count - sheets) / facts.layers;
  const layers = Math.min(500, Math.max(1, Math.round(bodyWanted / perLayer)));
  const factor = bodyWanted / (layers * perLayer);
  return { ...facts, layers, ...stretch(facts, perLayer, factor) };
}

function stretch(facts: ShapeFacts, perLayer: number, factor: number): Partial<ShapeFacts> {
  const per = (width: number, experts: number) => 3 * facts.width * width * experts;
  if (facts.experts !== undefined) {
    const [number, used, width] = facts.experts;
    const wanted = per(width, number) + (factor - 1) * perLayer;
    return { experts: [number, used, roundWidth(wanted / per(1, number))] };
  }
  const width = typeof facts.ffn === "number" ? facts.ffn : 0;
  const wanted = per(width, 1) + (factor - 1) * perLayer;
  return { ffn: roundWidth(wanted / per(1, 1)) };
}

/** Real widths are whole quantization blocks; one that is not would be stored in other types. */
function roundWidth(width: number): number {
  const step = width >= 1024 ? 256 : 32;
  return Math.max(step, Math.round(width / step) * step);
}
