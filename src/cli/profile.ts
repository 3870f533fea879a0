/** `snug doctor --profile`: what this machine has learned of itself. */
import type { Locale } from "../core/errors.ts";
import { formatBytes } from "../core/units.ts";
import type { LearnedEntry } from "../fit/learned.ts";
import { renderFacts, type Terminal } from "./terminal.ts";

const texts = {
  en: {
    none: "Nothing learned yet: the first load and the first long answer will be.",
    seen: (loads: number, runs: number) => `loads: ${loads}, kinds of answers: ${runs}`,
    labels: ["Seen", "Driver's share", "Compute buffers", "Reads weights at", "Time per layer", "Last"],
    usual: "as usual",
  },
  zh: {
    none: "还没有学到任何数据：第一次加载和第一个长回答之后就会有。",
    seen: (loads: number, runs: number) => `${loads} 次加载，${runs} 种回答`,
    labels: ["依据", "驱动占用", "计算缓冲", "读取权重速度", "每层耗时", "最近"],
    usual: "与默认相同",
  },
} satisfies Record<Locale, object>;

export function renderProfile(
  profile: readonly LearnedEntry[],
  { paint, locale }: Pick<Terminal, "paint" | "locale">,
): string {
  const t = texts[locale];
  if (profile.length === 0) return t.none;
  return profile
    .map((entry) => {
      const { device, build, architecture, loads, runs, runtimeBytes, computeFactor, lastAt } = entry;
      const rate = entry.effectiveBandwidthBytesPerSecond;
      const layer = entry.layerSeconds;
      const values = [
        t.seen(loads, runs),
        runtimeBytes === undefined ? t.usual : formatBytes(runtimeBytes),
        computeFactor === undefined
          ? t.usual
          : `× ${computeFactor.gpu.toFixed(3)} GPU, × ${computeFactor.host.toFixed(3)} CPU`,
        rate === undefined ? t.usual : `${(rate / 1e9).toFixed(1)} GB/s`,
        layer === undefined ? t.usual : `${(layer * 1e6).toFixed(0)} µs`,
        new Date(lastAt).toISOString().slice(0, 16).replace("T", " "),
      ];
      const title = paint("bold", `${architecture} · ${device} · ${build}`);
      return `${title}\n${renderFacts(
        t.labels.map((label, index) => [label, values[index] ?? ""] as const),
        paint,
      )}`;
    })
    .join("\n");
}
