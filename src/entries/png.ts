/** SVG to PNG for chats, which show no SVG. Node only: see docs/decisions/2026-11-20-png-on-node-only.md. */
import { createRequire } from "node:module";
import { Resvg, type ResvgRenderOptions, renderAsync } from "@resvg/resvg-js";
import type { Locale } from "../core/errors.ts";

const require = createRequire(import.meta.url);
const fontFiles = ["DejaVuSans.ttf", "DejaVuSans-Bold.ttf"].map((name) =>
  require.resolve(`dejavu-fonts-ttf/ttf/${name}`),
);

/** Twice the drawing's size: sharp on phones, still well under 200 KB. */
const pixelsPerUnit = 2;

const options: ResvgRenderOptions = {
  fitTo: { mode: "zoom", value: pixelsPerUnit },
  // The machine's own fonts come first in a family list, the bundled one is for machines without any.
  font: { loadSystemFonts: true, fontFiles, defaultFontFamily: "DejaVu Sans", sansSerifFamily: "DejaVu Sans" },
};

/** @param svg a picture whose text names generic or common font families */
export function renderPng(svg: string): Uint8Array {
  return new Resvg(svg, options).render().asPng();
}

/** The same on another thread: drawing takes most of a second, in which a server should do other things. */
export async function renderPngAside(svg: string): Promise<Uint8Array> {
  return (await renderAsync(svg, options)).asPng();
}

let chinese: boolean | undefined;

/**
 * The language a PNG's text can be drawn in: Chinese needs a Chinese font on this machine, and empty boxes would be worse
 * than English.
 */
export function pngLocale(wanted: Locale): Locale {
  if (wanted !== "zh") return wanted;
  chinese ??= drawsSomething("显");
  return chinese ? "zh" : "en";
}

/** A character that no font has is left out, so its picture stays empty. */
function drawsSomething(character: string): boolean {
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="32" height="32"><text x="2" y="26" font-size="24" font-family="sans-serif">${character}</text></svg>`;
  return new Resvg(svg, options).render().pixels.some((value) => value !== 0);
}
