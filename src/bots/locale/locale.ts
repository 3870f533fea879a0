/** Which language to answer in, and how an error is said in it. */
import { type AppError, renderChatError } from "../../core/errors.ts";
import { en } from "./en.ts";
import type { BotLocale, Texts } from "./texts.ts";
import { zhCn } from "./zh-cn.ts";
import { zhTw } from "./zh-tw.ts";

export const TEXTS: Record<BotLocale, Texts> = { en, "zh-CN": zhCn, "zh-TW": zhTw };

export const BOT_LOCALES = Object.keys(TEXTS) as BotLocale[];

/**
 * The language for a platform's locale tag: Chinese in its two scripts, English for everybody else.
 *
 * @param tag "zh-CN", "zh_TW", "en-US" …
 */
export function localeOfTag(tag: string | undefined): BotLocale {
  const parts = (tag ?? "").toLowerCase().replaceAll("_", "-").split("-");
  if (parts[0] !== "zh") return "en";
  return parts.some((part) => part === "tw" || part === "hk" || part === "mo" || part === "hant") ? "zh-TW" : "zh-CN";
}

/** Frequent characters that only the traditional script writes this way. */
const traditionalOnly = /[這個們說為嗎麼開關時間問題會來對過還沒點樣進動記憶體檔與應該無線請讓電腦顯權運寫]/u;
const simplifiedOnly = /[这个们说为吗么开关时间问题会来对过还没点样进动记忆体档与应该无线请让电脑显权运写]/u;

/**
 * The language somebody writes in, for platforms and messages that do not say: undefined when the text does not tell.
 * Kana and Hangul are other languages, whose readers get English.
 */
export function localeOfText(text: string): BotLocale | undefined {
  if (!/\p{Script=Han}/u.test(text) || /[\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]/u.test(text)) {
    return undefined;
  }
  return traditionalOnly.test(text) && !simplifiedOnly.test(text) ? "zh-TW" : "zh-CN";
}

/** One sentence for an operating failure, with the time to wait where there is one. */
export function errorSentence(error: AppError, locale: BotLocale): string {
  const own = TEXTS[locale].errorSentences?.[error.code];
  if (own === undefined) return renderChatError(error, locale === "en" ? "en" : "zh");
  if (error.retryAfterMs === undefined) return own;
  return `${own}${TEXTS[locale].retryAfter(Math.max(1, Math.ceil(error.retryAfterMs / 1000)))}`;
}
