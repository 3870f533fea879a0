/** Which form and language of an answer a request asks for. */
import type { Locale } from "../core/errors.ts";

export const answerFormats = ["json", "text", "markdown", "svg", "terminal"] as const;

export type AnswerFormat = (typeof answerFormats)[number];

export const contentTypes: Readonly<Record<AnswerFormat, string>> = {
  json: "application/json",
  text: "text/plain; charset=utf-8",
  markdown: "text/markdown; charset=utf-8",
  svg: "image/svg+xml",
  terminal: "text/plain; charset=utf-8",
};

const formatByType: Readonly<Record<string, AnswerFormat>> = {
  "application/json": "json",
  "application/*": "json",
  "*/*": "json",
  "text/plain": "text",
  "text/*": "text",
  "text/markdown": "markdown",
  "text/x-markdown": "markdown",
  "image/svg+xml": "svg",
  "image/*": "svg",
};

/** The best liked of the types there are; JSON where the header names none of them. Ties go to the first. */
export function negotiateFormat(accept: string | undefined): AnswerFormat {
  const liked = weighed(accept).find(({ value }) => formatByType[value] !== undefined);
  return liked === undefined ? "json" : formatByType[liked.value]!;
}

/** The better liked of the product's languages; English where the header names neither. */
export function negotiateLocale(acceptLanguage: string | undefined): Locale {
  const liked = weighed(acceptLanguage).find(({ value }) => /^(?:en|zh)(?:-|$)/.test(value));
  return liked?.value.startsWith("zh") === true ? "zh" : "en";
}

/** A header's list by preference, refused items (q=0) left out; long headers are cut. */
function weighed(header = ""): { value: string; weight: number }[] {
  const items = header
    .slice(0, 1000)
    .toLowerCase()
    .split(",")
    .map((item) => {
      const [value = "", ...parameters] = item.split(";").map((part) => part.trim());
      const weight = parameters.find((one) => one.startsWith("q="));
      return { value, weight: weight === undefined ? 1 : Number(weight.slice(2)) || 0 };
    });
  return items.filter(({ weight }) => weight > 0).sort((a, b) => b.weight - a.weight);
}
