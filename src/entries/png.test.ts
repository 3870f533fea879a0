import { describe, expect, it } from "vitest";
import { pngLocale, renderPng } from "./png.ts";

const withText = (text: string) =>
  `<svg xmlns="http://www.w3.org/2000/svg" width="200" height="40"><text x="4" y="28" font-size="20" font-family="'Inter',sans-serif">${text}</text></svg>`;
const view = (png: Uint8Array) => new DataView(png.buffer, png.byteOffset);

describe("renderPng", () => {
  it("draws at twice the size", () => {
    const png = renderPng(withText("VRAM"));
    expect([...png.subarray(1, 4)]).toEqual([..."PNG"].map((letter) => letter.charCodeAt(0)));
    expect([view(png).getUint32(16), view(png).getUint32(20)]).toEqual([400, 80]);
  });

  it("draws text even where the machine has no fonts of its own", () => {
    expect(renderPng(withText("VRAM")).length).toBeGreaterThan(renderPng(withText("")).length + 200);
  });

  it("never draws Chinese as nothing", () => {
    const locale = pngLocale("zh");
    const drawn = renderPng(withText("显存")).length > renderPng(withText("")).length + 100;
    expect(locale).toBe(drawn ? "zh" : "en");
    expect(pngLocale("en")).toBe("en");
  });
});
