/** Every sentence of the admin page. A language that lacks one does not compile. */
import type { Locale } from "../../core/errors.ts";
import { textsEn } from "./texts-en.ts";
import { textsZh } from "./texts-zh.ts";

/** English is the form; other languages have the same members. */
export type Texts = {
  [Key in keyof typeof textsEn]: (typeof textsEn)[Key] extends (...given: infer Given) => string
    ? (...given: Given) => string
    : (typeof textsEn)[Key] extends string
      ? string
      : { [Inner in keyof (typeof textsEn)[Key]]: string };
};

export const texts: Record<Locale, Texts> = { en: textsEn, zh: textsZh };

/** The language a browser asks for, by its Accept-Language; English where it asks for neither. */
export function preferredLocale(header: string | undefined): Locale {
  const wanted = (header ?? "")
    .split(",")
    .map((part) => {
      const [tag = "", quality] = part.trim().split(/\s*;\s*q=/);
      return { tag: tag.toLowerCase(), quality: quality === undefined ? 1 : Number(quality) || 0 };
    })
    .filter(({ tag, quality }) => quality > 0 && /^(?:en|zh)(?:-|$)/.test(tag))
    .sort((a, b) => b.quality - a.quality);
  return wanted[0]?.tag.startsWith("zh") ? "zh" : "en";
}
