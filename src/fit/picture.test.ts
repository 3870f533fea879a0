import { describe, expect, it } from "vitest";
import { answerQuery } from "./answer.ts";
import { renderPicture } from "./answer-picture.ts";
import { axisStep, drawPicture, escapeXml } from "./picture.ts";
import { parseQuery } from "./query.ts";
import { MEMORY_PART_NAMES } from "./render-memory.ts";

const TEXTS = [
  "13b 6gb + 32gb ram",
  "32b 2x16gb",
  "32b fp16 2x16gb",
  "13B 6G显存",
  "6gb",
  "70b",
  "gpt-oss-20b m4 pro 48gb",
  "8b 8gb card 6.1gb free",
  "7b 16gb ram",
  "qwen3.5 9b 3060 laptop ctx 32k",
];

function picture(text: string, theme: "light" | "dark" | "auto" = "light"): string {
  const query = parseQuery(text);
  return renderPicture(answerQuery(query), query.locale, theme)!;
}

/** Tags open and close in order, and attributes are quoted: enough of XML to know that a viewer will read it. */
function checkXml(svg: string): void {
  const open: string[] = [];
  for (const [tag, closing, name, selfClosing] of svg.matchAll(
    /<(\/?)([a-zA-Z]+)(?:\s+[a-zA-Z0-9:-]+="[^"<]*")*\s*(\/?)>/g,
  )) {
    if (closing) expect(open.pop(), tag).toBe(name);
    else if (!selfClosing) open.push(name!);
  }
  expect(open).toEqual([]);
  expect(svg.replace(/<(\/?)([a-zA-Z]+)(?:\s+[a-zA-Z0-9:-]+="[^"<]*")*\s*(\/?)>/g, "")).not.toContain("<");
}

/** Relative luminance of WCAG 2. */
function luminance(hex: string): number {
  const [red, green, blue] = [1, 3, 5].map((at) => {
    const value = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
    return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red! + 0.7152 * green! + 0.0722 * blue!;
}

function contrast(one: string, other: string): number {
  const [light, dark] = [luminance(one), luminance(other)].sort((a, b) => b - a);
  return (light! + 0.05) / (dark! + 0.05);
}

describe("the picture", () => {
  it.each(TEXTS)("%s is well-formed, in every theme, without broken numbers", (text) => {
    for (const theme of ["light", "dark", "auto"] as const) {
      const svg = picture(text, theme);
      checkXml(svg);
      expect(svg).not.toMatch(/NaN|Infinity|undefined/);
      expect(svg.length).toBeLessThan(20_000);
    }
  });

  it.each(TEXTS)("%s: every part of every bar is named with its size, so that colour is not the only sign", (text) => {
    const query = parseQuery(text);
    const { memory } = answerQuery(query);
    const svg = picture(text);
    for (const { kind } of memory.flatMap(({ parts }) => parts))
      expect(svg).toContain(`>${MEMORY_PART_NAMES[kind][query.locale]} `);
  });

  it.each(TEXTS)("%s: segments lie inside the bar, side by side", (text) => {
    const svg = picture(text);
    for (const match of svg.matchAll(/<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)" height="34"/g)) {
      expect(Number(match[1])).toBeGreaterThanOrEqual(28);
      expect(Number(match[1]) + Number(match[2])).toBeLessThanOrEqual(692.5);
    }
  });

  it("text can be read on every ground it stands on", () => {
    for (const [ground, inks] of [
      ["#ffffff", ["#1b1f24", "#57606a"]],
      ["#16191d", ["#eceff2", "#a5adb6"]],
    ] as const) {
      for (const ink of inks) expect(contrast(ground, ink)).toBeGreaterThan(4.5);
    }
    const svg = TEXTS.map((text) => picture(text)).join("");
    const pairs = [...svg.matchAll(/fill="(#[0-9a-f]{6})"\/><text [^>]*text-anchor="middle" fill="(#[0-9a-f]{6})"/g)];
    expect(pairs.length).toBeGreaterThan(5);
    for (const [, ground, ink] of pairs) expect(contrast(ground!, ink!), `${ink} on ${ground}`).toBeGreaterThan(4.5);
  });

  it("dark is dark, and auto follows the viewer", () => {
    expect(picture("8b 8gb", "dark")).toContain('fill="#16191d"');
    expect(picture("8b 8gb", "auto")).toContain("prefers-color-scheme:dark");
    expect(picture("8b 8gb", "light")).not.toContain("<style>");
  });

  it("text stays text, with a title for those who listen", () => {
    const svg = picture("13B 6G显存");
    expect(svg).toContain("<title>部分可以");
    expect(svg).toContain('role="img"');
    expect(svg).not.toContain("<path");
  });

  it("names cannot break out of the document", () => {
    const svg = drawPicture({
      title: `<script>alert("x")</script>&\u0000`,
      subtitle: "]]>",
      bars: [
        {
          id: "gpu0",
          kind: "gpu",
          label: '"><svg onload=1>',
          layers: 1,
          usedBytes: 1,
          capacityBytes: 2,
          totalBytes: 2,
          parts: [
            { kind: "weights", bytes: 1 },
            { kind: "free", bytes: 1 },
          ],
        },
      ],
      speed: [],
      locale: "en",
    });
    checkXml(svg);
    expect(svg).not.toContain("<script");
    expect(escapeXml("\ud800a\uffff")).toBe(" a ");
  });

  it("a word has no picture", () => {
    expect(renderPicture(answerQuery(parseQuery("what is nf4")), "en")).toBeUndefined();
  });

  it("axis steps are round and few", () => {
    for (const max of [0.3, 1, 4.2, 9, 17, 42, 99, 230, 1400]) {
      const step = axisStep(max);
      expect([1, 2, 5, 10]).toContain(Number((step / 10 ** Math.floor(Math.log10(step) + 1e-9)).toPrecision(3)));
      expect(max / step).toBeLessThanOrEqual(5.01);
      expect(max / step).toBeGreaterThanOrEqual(1.6);
    }
  });
});
