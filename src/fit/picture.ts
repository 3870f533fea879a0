/**
 * A plan as a picture: memory per device, and speed against context. SVG with its text as text; colours are told apart
 * by people with any colour vision (Okabe and Ito's set) and every part is labelled, so colour is never the only sign.
 */
import type { Locale } from "../core/errors.ts";
import { formatBytes, formatTokens } from "../core/units.ts";
import { MEMORY_PART_NAMES, type MemoryBar, type MemoryPart, type MemoryPartKind } from "./render-memory.ts";

/** Speed at one depth of context, tokens per second, with the interval it lies in. */
export interface SpeedPoint {
  contextTokens: number;
  tokensPerSecond: number;
  low: number;
  high: number;
}

export interface PictureInput {
  /** What the bars show, one line. */
  title: string;
  /** How it goes, one line. */
  subtitle: string;
  /** Read out to those who cannot see the picture; default: the title. */
  description?: string;
  bars: readonly MemoryBar[];
  /** At least two points, ascending, for the chart; fewer leave it out. */
  speed: readonly SpeedPoint[];
  locale: Locale;
  /** "auto" follows the viewer's setting where CSS works, and is light elsewhere. */
  theme?: "light" | "dark" | "auto";
}

const width = 720;
const margin = 28;
const inner = width - 2 * margin;
const barHeight = 34;
const chartHeight = 150;
/** Faces with Latin and Chinese letters, the nearest first. */
export const FONT =
  "'Inter','Segoe UI','Helvetica Neue',Arial,'Noto Sans SC','Noto Sans CJK SC','PingFang SC','Microsoft YaHei',sans-serif";

export interface Theme {
  page: string;
  ink: string;
  quiet: string;
  line: string;
  free: string;
  accent: string;
}

export const LIGHT: Theme = {
  page: "#ffffff",
  ink: "#1b1f24",
  quiet: "#57606a",
  line: "#d0d7de",
  free: "#eef1f4",
  accent: "#0072b2",
};
export const DARK: Theme = {
  page: "#16191d",
  ink: "#eceff2",
  quiet: "#a5adb6",
  line: "#3c434b",
  free: "#262b31",
  accent: "#56b4e9",
};

/** Fill and the colour of text on it; contrast at least 4.5 to 1. */
const PART_COLOURS: Record<MemoryPartKind, { fill: string; text: string }> = {
  weights: { fill: "#0072b2", text: "#ffffff" },
  kvCache: { fill: "#e69f00", text: "#1b1f24" },
  state: { fill: "#f0e442", text: "#1b1f24" },
  compute: { fill: "#009e73", text: "#0b1512" },
  runtime: { fill: "#cc79a7", text: "#1b1f24" },
  others: { fill: "#8a929a", text: "#12161a" },
  reserve: { fill: "url(#reserve)", text: "" },
  free: { fill: "", text: "" },
  over: { fill: "#d55e00", text: "#1b1f24" },
};

/** The picture as one SVG document, 720 wide; its height follows what there is to show. */
export function drawPicture(input: PictureInput): string {
  const theme = input.theme === "dark" ? DARK : LIGHT;
  const parts: string[] = [];
  let y = margin + 14;
  for (const [index, line] of titleLines(input.title).entries()) {
    if (index > 0) y += 25;
    parts.push(text(margin, y, line, { size: titleSize, weight: 700, cls: "ink", fill: theme.ink, max: inner }));
  }
  y += 22;
  parts.push(text(margin, y, input.subtitle, { size: 13, cls: "quiet", fill: theme.quiet, max: inner }));
  y += 16;
  // GPUs share a scale, so that unequal cards look unequal; main memory, often far larger, has its own.
  const gpuScale = Math.max(...input.bars.map(({ kind, totalBytes }) => (kind === "gpu" ? totalBytes : 0)), 1);
  for (const bar of input.bars) {
    const drawn = drawBar(bar, y, bar.kind === "gpu" ? gpuScale : bar.totalBytes, theme, input.locale);
    parts.push(drawn.svg);
    y = drawn.y;
  }
  if (input.speed.length >= 2) {
    const drawn = drawSpeed(input.speed, y + 12, theme, input.locale);
    parts.push(drawn.svg);
    y = drawn.y;
  }
  const height = Math.ceil(y + 14);
  const spoken = input.description ?? input.title;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeXml(spoken)}" font-family="${escapeXml(FONT)}">`,
    `<title>${escapeXml(spoken)}</title>`,
    input.theme === "auto" ? darkStyle() : "",
    definitions(theme),
    `<rect class="page" width="${width}" height="${height}" rx="12" fill="${theme.page}"/>`,
    ...parts,
    "</svg>",
  ].join("");
}

const titleSize = 19;

/** The title on one line, or on two broken at a space or between Chinese characters. */
function titleLines(title: string): string[] {
  // Bold letters are a little wider than the estimate for plain ones.
  const limit = inner / 1.04;
  if (textWidth(title, titleSize) <= limit) return [title];
  let end = title.length;
  while (end > 1 && textWidth(title.slice(0, end), titleSize) > limit) end--;
  const space = title.lastIndexOf(" ", end);
  const cut = space > end * 0.6 && !/[\u4e00-\u9fff，。：]/.test(title[end - 1] ?? "") ? space : end;
  return [title.slice(0, cut).trimEnd(), title.slice(cut).trimStart()];
}

/** Rules that turn a light picture dark where the viewer wants it. */
export function darkStyle(): string {
  const rules = [
    `.page{fill:${DARK.page}}.ink{fill:${DARK.ink}}.quiet{fill:${DARK.quiet}}.free{fill:${DARK.free}}`,
    `.line{stroke:${DARK.line}}.accent{stroke:${DARK.accent}}.band,.dot{fill:${DARK.accent}}.hatch{stroke:${DARK.quiet}}`,
  ].join("");
  return `<style>@media (prefers-color-scheme:dark){${rules}}</style>`;
}

function definitions(theme: Theme): string {
  return (
    `<defs><pattern id="reserve" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">` +
    `<rect class="free" width="7" height="7" fill="${theme.free}"/><line class="hatch" x1="0" y1="0" x2="0" y2="7" stroke="${theme.quiet}" stroke-width="2"/></pattern></defs>`
  );
}

export interface TextStyle {
  size: number;
  weight?: number;
  cls?: string;
  fill: string;
  anchor?: "start" | "middle" | "end";
  /** Widest it may be, pixels; longer text is cut. */
  max?: number;
}

/** One line of text in the picture. */
export function text(x: number, y: number, content: string, style: TextStyle): string {
  const shown = style.max === undefined ? content : fitText(content, style.max, style.size);
  const weight = style.weight === undefined ? "" : ` font-weight="${style.weight}"`;
  const anchor = style.anchor === undefined ? "" : ` text-anchor="${style.anchor}"`;
  const cls = style.cls === undefined ? "" : ` class="${style.cls}"`;
  return `<text x="${round(x)}" y="${round(y)}" font-size="${style.size}"${weight}${anchor}${cls} fill="${style.fill}">${escapeXml(shown)}</text>`;
}

/** Estimated width: a full-width character is one em, others 0.55. */
export function textWidth(content: string, size: number): number {
  let ems = 0;
  for (const char of content) ems += char.codePointAt(0)! > 0x2e7f ? 1 : 0.55;
  return ems * size;
}

function fitText(content: string, max: number, size: number): string {
  if (textWidth(content, size) <= max) return content;
  let shown = content;
  while (shown.length > 1 && textWidth(`${shown}…`, size) > max) shown = shown.slice(0, -1);
  return `${shown.trimEnd()}…`;
}

function drawBar(bar: MemoryBar, top: number, scale: number, theme: Theme, locale: Locale): { svg: string; y: number } {
  const zh = locale === "zh";
  const y = top + 26;
  const layers =
    bar.layers > 0 ? (zh ? ` · ${bar.layers} 层` : ` · ${bar.layers} ${bar.layers === 1 ? "layer" : "layers"}`) : "";
  const total = `${formatBytes(bar.usedBytes)} / ${formatBytes(bar.capacityBytes)}`;
  const svg = [
    text(margin, y, `${bar.label}${layers}`, { size: 14, weight: 600, cls: "ink", fill: theme.ink, max: inner - 180 }),
    text(width - margin, y, total, { size: 14, anchor: "end", cls: "ink", fill: theme.ink }),
    ...segments(bar, y + 9, scale, theme),
  ];
  const legend = drawLegend(bar, y + 9 + barHeight + 19, theme, locale);
  return { svg: svg.join("") + legend.svg, y: legend.y };
}

/** Parts too thin to read or to hit are drawn at least this wide, taken from the free space. */
const partWidthMin = 3;

function segments(bar: MemoryBar, y: number, scale: number, theme: Theme): string[] {
  const full = (inner * bar.totalBytes) / scale;
  const widths = bar.parts.map(({ bytes }) => Math.max(partWidthMin, (full * bytes) / bar.totalBytes));
  const excess = widths.reduce((sum, one) => sum + one, 0) - full;
  const widest = widths.indexOf(Math.max(...widths));
  if (excess > 0 && widest >= 0) widths[widest] = widths[widest]! - excess;
  const svg: string[] = [
    `<rect class="free" x="${margin}" y="${y}" width="${round(full)}" height="${barHeight}" rx="5" fill="${theme.free}"/>`,
  ];
  let x = margin;
  bar.parts.forEach(({ kind, bytes }, index) => {
    const wide = widths[index]!;
    const colours = PART_COLOURS[kind];
    if (colours.fill !== "")
      svg.push(`<rect x="${round(x)}" y="${y}" width="${round(wide)}" height="${barHeight}" fill="${colours.fill}"/>`);
    const label = formatBytes(bytes);
    if (colours.text !== "" && textWidth(label, 12) + 10 < wide) {
      svg.push(
        text(x + wide / 2, y + barHeight / 2 + 4.5, label, {
          size: 12,
          weight: 600,
          anchor: "middle",
          fill: colours.text,
        }),
      );
    }
    if (index > 0 && colours.fill !== "")
      svg.push(
        `<line x1="${round(x)}" y1="${y}" x2="${round(x)}" y2="${y + barHeight}" stroke="${theme.page}" stroke-width="1" class="gap"/>`,
      );
    x += wide;
  });
  const end = margin + (inner * bar.capacityBytes) / scale;
  svg.push(
    `<rect class="line" x="${margin}" y="${y}" width="${round(end - margin)}" height="${barHeight}" rx="3" fill="none" stroke="${theme.line}" stroke-width="1.5"/>`,
  );
  if (bar.totalBytes > bar.capacityBytes) {
    svg.push(
      `<rect x="${round(end)}" y="${y - 4}" width="${round(full - (end - margin))}" height="${barHeight + 8}" fill="none" stroke="${PART_COLOURS.over.fill}" stroke-width="2.5" stroke-dasharray="5 3"/>`,
    );
  }
  return svg;
}

function drawLegend(bar: MemoryBar, top: number, theme: Theme, locale: Locale): { svg: string; y: number } {
  const svg: string[] = [];
  let x = margin;
  let y = top;
  const over = bar.totalBytes - bar.capacityBytes;
  const parts: readonly MemoryPart[] = over > 0 ? [...bar.parts, { kind: "over", bytes: over }] : bar.parts;
  for (const { kind, bytes } of parts) {
    const label = `${MEMORY_PART_NAMES[kind][locale]} ${formatBytes(bytes)}`;
    const wide = 18 + textWidth(label, 12) + 14;
    if (x > margin && x + wide > width - margin) {
      x = margin;
      y += 19;
    }
    const fill = PART_COLOURS[kind].fill || theme.free;
    const cls = kind === "free" ? ' class="free line"' : "";
    svg.push(
      `<rect${cls} x="${round(x)}" y="${round(y - 10)}" width="11" height="11" rx="2" fill="${fill}" stroke="${kind === "free" || kind === "reserve" ? theme.line : fill}"/>`,
    );
    svg.push(text(x + 17, y, label, { size: 12, cls: "quiet", fill: theme.quiet }));
    x += wide;
  }
  return { svg: svg.join(""), y: y + 8 };
}

/** A round number of about five steps up to `max`. */
export function axisStep(max: number): number {
  const rough = max / 4;
  const power = 10 ** Math.floor(Math.log10(Math.max(rough, 1e-9)));
  const lead = rough / power;
  return (lead > 5 ? 10 : lead > 2 ? 5 : lead > 1 ? 2 : 1) * power;
}

function drawSpeed(
  points: readonly SpeedPoint[],
  top: number,
  theme: Theme,
  locale: Locale,
): { svg: string; y: number } {
  const zh = locale === "zh";
  const left = margin + 40;
  const right = width - margin - 6;
  const y0 = top + 34;
  const y1 = y0 + chartHeight;
  const step = axisStep(Math.max(...points.map(({ high }) => high), 0.1));
  const peak = Math.max(step, Math.ceil(Math.max(...points.map(({ high }) => high)) / step) * step);
  const last = points.at(-1)!.contextTokens;
  const px = (tokens: number): number => left + ((right - left) * tokens) / last;
  const py = (rate: number): number => y1 - (chartHeight * rate) / peak;
  const svg: string[] = [
    text(margin, top + 16, zh ? "生成速度与上下文（tokens/s）" : "Speed against context (tokens/s)", {
      size: 14,
      weight: 600,
      cls: "ink",
      fill: theme.ink,
    }),
  ];
  for (let rate = 0; rate <= peak + 1e-9; rate += step) {
    svg.push(
      `<line class="line" x1="${left}" y1="${round(py(rate))}" x2="${right}" y2="${round(py(rate))}" stroke="${theme.line}" stroke-width="1"/>`,
    );
    svg.push(
      text(left - 8, py(rate) + 4, `${Number(rate.toPrecision(3))}`, {
        size: 12,
        anchor: "end",
        cls: "quiet",
        fill: theme.quiet,
      }),
    );
  }
  const band = [
    ...points.map((p) => `${round(px(p.contextTokens))},${round(py(p.high))}`),
    ...points.toReversed().map((p) => `${round(px(p.contextTokens))},${round(py(p.low))}`),
  ];
  svg.push(`<polygon class="band" points="${band.join(" ")}" fill="${theme.accent}" fill-opacity="0.18"/>`);
  const line = points.map((p) => `${round(px(p.contextTokens))},${round(py(p.tokensPerSecond))}`);
  svg.push(
    `<polyline class="accent" points="${line.join(" ")}" fill="none" stroke="${theme.accent}" stroke-width="2.5" stroke-linejoin="round"/>`,
  );
  svg.push(...marks(points, px, py, theme));
  for (const fraction of [0, 0.25, 0.5, 0.75, 1]) {
    const tokens = Math.round(last * fraction);
    const anchor = fraction === 0 ? "start" : fraction === 1 ? "end" : "middle";
    svg.push(text(px(tokens), y1 + 18, shortTokens(tokens), { size: 12, anchor, cls: "quiet", fill: theme.quiet }));
  }
  return { svg: svg.join(""), y: y1 + 22 };
}

/** First and last point with their values: what most people look for. */
function marks(
  points: readonly SpeedPoint[],
  px: (tokens: number) => number,
  py: (rate: number) => number,
  theme: Theme,
): string[] {
  const shown = [points[0]!, points.at(-1)!];
  return shown.flatMap((point, index) => {
    const x = px(point.contextTokens);
    const y = py(point.tokensPerSecond);
    const anchor = index === 0 ? "start" : "end";
    return [
      `<circle class="dot" cx="${round(x)}" cy="${round(y)}" r="4" fill="${theme.accent}"/>`,
      text(index === 0 ? x + 8 : x - 8, y - 9, rate(point.tokensPerSecond), {
        size: 13,
        weight: 700,
        anchor,
        cls: "ink",
        fill: theme.ink,
      }),
    ];
  });
}

function rate(value: number): string {
  return value >= 100 ? `${Math.round(value)}` : value >= 10 ? value.toFixed(0) : value.toFixed(1);
}

function shortTokens(tokens: number): string {
  return tokens >= 1024 && tokens % 1024 !== 0 ? `${Math.round(tokens / 1024)}k` : formatTokens(tokens);
}

/** To a tenth of a pixel. */
export function round(value: number): number {
  return Math.round(value * 10) / 10;
}

/** Text that may stand between tags or in a quoted attribute; control characters have no place in XML. */
export function escapeXml(content: string): string {
  let out = "";
  for (const char of content) {
    const code = char.codePointAt(0)!;
    if (char === "&") out += "&amp;";
    else if (char === "<") out += "&lt;";
    else if (char === ">") out += "&gt;";
    else if (char === '"') out += "&quot;";
    else if (code < 32 || (code >= 0xd800 && code <= 0xdfff) || code === 0xfffe || code === 0xffff) out += " ";
    else out += char;
  }
  return out;
}
