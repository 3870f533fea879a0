/** The planner states its assumptions in English; here is their Chinese. An unknown one stays English rather than lost. */
import type { Locale } from "../core/errors.ts";

const CHINESE: readonly (readonly [pattern: RegExp, text: string])[] = [
  [/^Only the size is known \((.+)\); the shape of (.+) is assumed\.$/, "只知道大小（$1）；按 $2 的结构计算。"],
  [
    /^Only the size is known \((.+)\); the shape of (.+) is assumed, (?:scaled|stretched).*\.$/,
    "只知道大小（$1）；按 $2 的结构等比缩放计算。",
  ],
  [/^The vocabulary's size is worked out from the parameter count: (\d+)\.$/, "词表大小由参数量推得：$1。"],
  [/^The vocabulary's size is not given; (\d+) is assumed\.$/, "词表大小未知，按 $1 计算。"],
  [
    /^Whether the output matrix is the embedding is not given; it is assumed to be\.$/,
    "未说明输出矩阵是否与嵌入共用，按共用计算。",
  ],
  [
    /^Whether the output matrix is the embedding is not given; it is not assumed to be\.$/,
    "未说明输出矩阵是否与嵌入共用，按不共用计算。",
  ],
  [
    /^Its feed-forward width is scaled so that the tensors add up to the parameter count\.$/,
    "前馈层宽度按参数量缩放。",
  ],
  [/^"(.+)" is a type not known here; it is taken to be built like Llama\.$/, "不认识类型“$1”；按 Llama 的结构计算。"],
  [
    /^Only the language part is counted; the vision or audio part comes on top\.$/,
    "只计语言部分；视觉或音频部分另算。",
  ],
  [/^Main memory is not known; (\d+) GiB are assumed\.$/, "内存大小未知，按 $1 GiB 计算。"],
  [
    /^Speed assumes a GeForce RTX of that size with (\d+) GB\/s; name the card for a better figure\.$/,
    "速度按同显存的 GeForce RTX（$1 GB/s）估计；写明显卡会更准。",
  ],
  [
    /^Speed assumes dual-channel DDR4-3200 memory \((\d+) GB\/s\); DDR5 is about ([\d.]+) times as fast\.$/,
    "速度按双通道 DDR4-3200（$1 GB/s）估计；DDR5 约快 $2 倍。",
  ],
  [
    /^The architecture "(.+)" is not known here; its blocks are taken to be built like Llama's\.$/,
    "不认识架构“$1”；按 Llama 的结构计算。",
  ],
  [
    /^(.+) is made for NVIDIA cards; on others check first that it runs at all\.$/,
    "$1 面向 NVIDIA 显卡；其他显卡请先确认能否运行。",
  ],
  [
    /^(\d+) GPUs do not share this model's attention heads evenly: vLLM would run (\d+) groups of (\d+) one behind the other.*$/,
    "$1 张显卡无法均分该模型的注意力头：vLLM 会分成 $2 组（每组 $3 张）流水线运行，容量更大但不会更快。",
  ],
];

export function translateAssumption(assumption: string, locale: Locale): string {
  if (locale === "en") return assumption;
  for (const [pattern, text] of CHINESE) if (pattern.test(assumption)) return assumption.replace(pattern, text);
  return assumption;
}
