/** The last two weeks of the ledger as a picture: tokens read and written, day by day. Pure text to SVG. */
import type { UsageGroup } from "../core/ports.ts";
import type { Texts } from "./locale/texts.ts";

export const statsPictureDays = 14;

const dayMs = 86_400_000;
const width = 640;
const height = 260;
const plot = { left: 64, top: 64, right: 16, bottom: 36 };
const colours = { text: "#1d1c1d", soft: "#616061", line: "#e2e2e2", read: "#9bb8dd", written: "#2f6fbf" };
const font = 'font-family="DejaVu Sans, Noto Sans CJK SC, Microsoft YaHei, sans-serif"';

/** Start of the first day shown, UTC milliseconds. */
export function statsPictureSince(now: number): number {
  return Math.floor(now / dayMs) * dayMs - (statsPictureDays - 1) * dayMs;
}

/**
 * @param days groups by day, of which those with no row may be missing
 * @returns undefined when nothing was asked in that time
 */
export function renderStatsPicture(days: readonly UsageGroup[], now: number, texts: Texts): string | undefined {
  const byDate = new Map(days.map((day) => [day.value, day]));
  const shown = Array.from({ length: statsPictureDays }, (_, index) => {
    const date = new Date(statsPictureSince(now) + index * dayMs).toISOString().slice(0, 10);
    const { promptTokens = 0, completionTokens = 0 } = byDate.get(date) ?? {};
    return { date, promptTokens, completionTokens };
  });
  const top = Math.max(...shown.map(({ promptTokens, completionTokens }) => promptTokens + completionTokens));
  if (top === 0) return undefined;
  const scaleMax = roundedUp(top);
  const plotHeight = height - plot.top - plot.bottom;
  const step = (width - plot.left - plot.right) / statsPictureDays;
  const heightOf = (tokens: number) => (tokens / scaleMax) * plotHeight;
  const ground = height - plot.bottom;
  const bars = shown.map(({ date, promptTokens, completionTokens }, index) => {
    const x = plot.left + index * step + step * 0.15;
    const read = heightOf(promptTokens);
    const written = heightOf(completionTokens);
    return [
      rectangle(x, ground - read, step * 0.7, read, colours.read),
      rectangle(x, ground - read - written, step * 0.7, written, colours.written),
      index % 2 === 1 ? label(x + step * 0.35, ground + 18, date.slice(5), "middle") : "",
    ].join("");
  });
  const grid = [0, 0.5, 1].map((share) => {
    const y = ground - share * plotHeight;
    const line = `<line x1="${plot.left}" x2="${width - plot.right}" y1="${y}" y2="${y}" stroke="${colours.line}"/>`;
    return line + label(plot.left - 8, y + 4, shortNumber(scaleMax * share), "end");
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    `<text x="16" y="26" ${font} font-size="16" font-weight="bold" fill="${colours.text}">${texts.statsPicture.title(statsPictureDays)}</text>`,
    legend(16, colours.written, texts.statsPicture.written),
    legend(200, colours.read, texts.statsPicture.read),
    ...grid,
    ...bars,
    "</svg>",
  ].join("");
}

/** 1, 2 or 5 with zeros behind, so that the scale's middle is a short number too. */
function roundedUp(tokens: number): number {
  const power = 10 ** Math.floor(Math.log10(tokens));
  return power * ([1, 2, 5, 10].find((factor) => factor * power >= tokens) ?? 10);
}

/** "500", "50k", "2M". */
function shortNumber(tokens: number): string {
  if (tokens >= 1e6) return `${tokens / 1e6}M`;
  return tokens >= 1e3 ? `${tokens / 1e3}k` : String(tokens);
}

function rectangle(x: number, y: number, w: number, h: number, fill: string): string {
  return h <= 0
    ? ""
    : `<rect x="${x.toFixed(1)}" y="${y.toFixed(1)}" width="${w.toFixed(1)}" height="${h.toFixed(1)}" fill="${fill}"/>`;
}

function label(x: number, y: number, text: string, anchor: "middle" | "end"): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${font} font-size="11" text-anchor="${anchor}" fill="${colours.soft}">${text}</text>`;
}

function legend(x: number, fill: string, text: string): string {
  return `${rectangle(x, 39, 11, 11, fill)}<text x="${x + 17}" y="49" ${font} font-size="12" fill="${colours.soft}">${text}</text>`;
}
