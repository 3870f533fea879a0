/** Figures as people read them. */
import type { Locale } from "../../core/errors.ts";
import { formatBytes } from "../../core/units.ts";

export interface Formats {
  /** 12 345 as "12,345". */
  whole(value: number): string;
  /** 12 345 as "12.3K". */
  short(value: number): string;
  /** 0.123 as "12.3%". */
  share(value: number): string;
  /** Milliseconds as "340 ms", "1.2 s" or "3 min 20 s". */
  duration(ms: number): string;
  bytes(value: number): string;
}

export function formatsOf(locale: Locale): Formats {
  const tag = locale === "zh" ? "zh-CN" : "en";
  const whole = new Intl.NumberFormat(tag, { maximumFractionDigits: 0 });
  const short = new Intl.NumberFormat(tag, { notation: "compact", maximumFractionDigits: 1 });
  const share = new Intl.NumberFormat(tag, { style: "percent", maximumFractionDigits: 1 });
  const seconds = locale === "zh" ? " 秒" : " s";
  const minutes = locale === "zh" ? " 分" : " min";
  return {
    whole: (value) => whole.format(value),
    short: (value) => short.format(value),
    share: (value) => share.format(value),
    duration(ms) {
      if (ms < 1) return "<1 ms";
      if (ms < 1000) return `${Math.round(ms)} ms`;
      if (ms < 9_950) return `${(ms / 1000).toFixed(1)}${seconds}`;
      if (ms < 60_000) return `${Math.round(ms / 1000)}${seconds}`;
      const total = Math.round(ms / 1000);
      return `${Math.floor(total / 60)}${minutes} ${total % 60}${seconds}`;
    },
    bytes: formatBytes,
  };
}
