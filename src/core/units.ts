/** Bytes, token counts and durations: the only home of 1024. */

export const KIB = 1024;
export const MIB = 1024 ** 2;
export const GIB = 1024 ** 3;
/** Decimal gigabyte, as disks and web pages count. */
export const GB = 1e9;

/** "5.87 GiB", "812 MiB"; three significant digits, sign kept. */
export function formatBytes(bytes: number): string {
  if (!Number.isFinite(bytes)) return "?";
  const size = Math.abs(bytes);
  if (size >= GIB) return `${trim(bytes / GIB)} GiB`;
  if (size >= MIB) return `${Math.round(bytes / MIB)} MiB`;
  if (size >= KIB) return `${Math.round(bytes / KIB)} KiB`;
  return `${Math.round(bytes)} B`;
}

/** Bytes of an amount of memory: "6GiB", "500 MB", "1.5g"; a bare number counts in `unit`. Undefined when it is none. */
export function parseBytes(text: string, unit = 1): number | undefined {
  const [, amount, prefix] = /^(\d+(?:\.\d+)?)\s*(?:([kmgt])i?b?|b)?$/i.exec(text.trim()) ?? [];
  if (amount === undefined) return undefined;
  if (prefix === undefined) return Math.round(Number(amount) * (/b$/i.test(text.trim()) ? 1 : unit));
  const power = "kmgt".indexOf(prefix.toLowerCase()) + 1;
  // "6GB" of memory means 6 GiB to everybody; thousands are for disks.
  return Math.round(Number(amount) * KIB ** power);
}

/** "8.03B", "135M": parameter counts as people write them. */
export function formatParameterCount(count: number): string {
  if (count >= 1e12) return `${trim(count / 1e12)}T`;
  if (count >= 1e9) return `${trim(count / 1e9)}B`;
  if (count >= 1e6) return `${Math.round(count / 1e6)}M`;
  return `${Math.round(count)}`;
}

/** "16k" and "1M" for whole multiples of 1024 and its square, "10000" otherwise. */
export function formatTokens(count: number): string {
  const millions = count / (KIB * KIB);
  if (Number.isInteger(millions) && millions > 0) return `${millions}M`;
  return count >= KIB && count % KIB === 0 ? `${count / KIB}k` : `${count}`;
}

/** "83 ms", "1.4 s", "2 min 5 s". */
export function formatDuration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${trim(ms / 1000)} s`;
  const minutes = Math.floor(ms / 60_000);
  const seconds = Math.round((ms % 60_000) / 1000);
  return seconds === 0 ? `${minutes} min` : `${minutes} min ${seconds} s`;
}

/** The smallest multiple of `step` that is at least `value`. */
export function roundUp(value: number, step: number): number {
  return Math.ceil(value / step) * step;
}

function trim(value: number): string {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value
    .toFixed(digits)
    .replace(/(\.\d*?)0+$/, "$1")
    .replace(/\.$/, "");
}
