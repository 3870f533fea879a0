/** A comparison as a picture: speed, memory, first token and quality, one bar a precision in each. */
import type { Locale } from "../core/errors.ts";
import { formatBytes, formatDuration } from "../core/units.ts";
import { compareVerdict, decodeOf, memoryOf, rate, trimmed } from "./compare-render.ts";
import type { ComparisonReport, VariantResult } from "./compare-report.ts";
import { DARK, darkStyle, escapeXml, FONT, LIGHT, round, type Theme, text } from "./picture.ts";

const width = 720;
const margin = 28;
const gap = 32;
const panelWidth = (width - 2 * margin - gap) / 2;
const rowHeight = 30;
const labelWidth = 84;
/** Right of the bar, for the figure. */
const figureWidth = 78;
/** One hue a panel; figures stand beside the bars, so colour is never the only sign. */
const colours = ["#0072b2", "#009e73", "#e69f00", "#cc79a7"];

interface Panel {
  title: string;
  /** Less is better. */
  low: boolean;
  value(variant: VariantResult): number | undefined;
  /** The planner's figure, drawn as a line over the bar. */
  predicted?(variant: VariantResult): number | undefined;
  show(value: number): string;
}

function panelsOf(locale: Locale): Panel[] {
  const zh = locale === "zh";
  return [
    {
      title: zh ? "生成速度（token/s）" : "Decode (tokens/s)",
      low: false,
      value: decodeOf,
      predicted: ({ speeds }) => speeds[0]?.predicted.decodeTokensPerSecond,
      show: rate,
    },
    {
      title: zh ? "内存（显存加主存）" : "Memory (VRAM and RAM)",
      low: true,
      value: memoryOf,
      predicted: ({ memory }) => memory && memory.predicted.gpuBytes + memory.predicted.hostBytes,
      show: formatBytes,
    },
    {
      title: zh ? "首 token 时间" : "Time to first token",
      low: true,
      value: ({ answers }) => answers[0]?.timeToFirstTokenMs,
      show: formatDuration,
    },
    {
      title: zh ? "困惑度" : "Perplexity",
      low: true,
      value: ({ quality }) => quality?.perplexity,
      show: trimmed,
    },
  ];
}

/** One SVG document, 720 wide. */
export function drawComparison(
  report: ComparisonReport,
  locale: Locale,
  themeName: "light" | "dark" | "auto" = "auto",
): string {
  const theme = themeName === "dark" ? DARK : LIGHT;
  const zh = locale === "zh";
  const title = zh ? `${report.model.name} 的精度对比` : `${report.model.name} by precision`;
  const machine = report.machine.gpus[0] ?? report.machine.cpu;
  const panels = panelsOf(locale);
  const panelHeight = 34 + report.variants.length * rowHeight + 14;
  const top = margin + 46;
  const height = Math.ceil(top + 2 * panelHeight + 30);
  const spoken = `${title}. ${compareVerdict(report, locale)}`;
  const bars = panels.map((panel, index) =>
    drawPanel(panel, report.variants, {
      x: margin + (index % 2) * (panelWidth + gap),
      y: top + Math.floor(index / 2) * panelHeight,
      colour: colours[index]!,
      theme,
      zh,
    }),
  );
  const note = zh ? "竖线：规划器的预测" : "Line: the planner's prediction";
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeXml(spoken)}" font-family="${escapeXml(FONT)}">`,
    `<title>${escapeXml(spoken)}</title>`,
    themeName === "auto" ? darkStyle() : "",
    `<rect class="page" width="${width}" height="${height}" rx="12" fill="${theme.page}"/>`,
    text(margin, margin + 14, title, { size: 19, weight: 700, cls: "ink", fill: theme.ink, max: width - 2 * margin }),
    text(margin, margin + 34, machine, { size: 13, cls: "quiet", fill: theme.quiet, max: width - 2 * margin }),
    ...bars,
    text(margin, height - 16, note, { size: 12, cls: "quiet", fill: theme.quiet }),
    "</svg>",
  ].join("");
}

function drawPanel(
  { title, low, value, predicted, show }: Panel,
  variants: readonly VariantResult[],
  place: { x: number; y: number; colour: string; theme: Theme; zh: boolean },
): string {
  const { x, y, colour, theme, zh } = place;
  const hint = low ? (zh ? "越少越好" : "less is better") : zh ? "越多越好" : "more is better";
  const finite = (figure: number | undefined) => (figure !== undefined && Number.isFinite(figure) ? figure : 0);
  const most = Math.max(...variants.flatMap((one) => [finite(value(one)), finite(predicted?.(one))]), 1e-9);
  const room = panelWidth - labelWidth - figureWidth;
  const parts = [
    text(x, y + 16, title, { size: 14, weight: 600, cls: "ink", fill: theme.ink, max: panelWidth - 90 }),
    text(x + panelWidth, y + 16, hint, { size: 12, anchor: "end", cls: "quiet", fill: theme.quiet }),
  ];
  for (const [index, variant] of variants.entries()) {
    const top = y + 30 + index * rowHeight;
    const figure = value(variant);
    const label = { size: 13, cls: "ink", fill: theme.ink, max: labelWidth - 6 };
    parts.push(text(x, top + 14, variant.quantization, label));
    parts.push(
      `<rect class="free" x="${round(x + labelWidth)}" y="${round(top)}" width="${round(room)}" height="20" rx="4" fill="${theme.free}"/>`,
    );
    if (figure !== undefined && Number.isFinite(figure)) {
      const wide = Math.max(2, (room * figure) / most);
      parts.push(
        `<rect x="${round(x + labelWidth)}" y="${round(top)}" width="${round(wide)}" height="20" rx="4" fill="${colour}"/>`,
      );
    }
    const said = figure === undefined || !Number.isFinite(figure) ? "–" : show(figure);
    parts.push(
      text(x + panelWidth, top + 15, said, { size: 13, weight: 600, anchor: "end", cls: "ink", fill: theme.ink }),
    );
    const expected = finite(predicted?.(variant));
    if (expected > 0) {
      const at = round(x + labelWidth + (room * expected) / most);
      parts.push(
        `<line class="hatch" x1="${at}" y1="${round(top - 3)}" x2="${at}" y2="${round(top + 23)}" stroke="${theme.quiet}" stroke-width="2"/>`,
      );
    }
  }
  return parts.join("");
}
