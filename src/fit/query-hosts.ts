/**
 * Machines that compute on their CPU: processors by name, small boards, rented servers, phones. Where one stands alone beside
 * a size, the size is its main memory and not a card's.
 */
import { END, type Fact, type Rule, rule, wordRule } from "./query-grammar.ts";

export interface HostFacts {
  /** Memory channels where they differ from a desktop's two. */
  channels?: number;
  /** Bytes per second where the memory is soldered on and known. */
  bandwidthBytesPerSecond?: number;
}

function host(name: string, facts: HostFacts = {}): () => Fact {
  return () => ({ kind: "host", name, ...facts });
}

/** Letters behind a desktop processor's number: "7950x", "13900k". */
const CPU_SUFFIX = "(?:x3d|xt|x|ks|kf|k|hx|hs|h|u|f)";
const CPU_NUMBER = `(?:[- ]?(?:pro[- ]?)?\\d{4,5}${CPU_SUFFIX}?)?`;

const raspberryPi4 = host("Raspberry Pi 4", { bandwidthBytesPerSecond: 12.8e9 });
const raspberryPi5 = host("Raspberry Pi 5", { bandwidthBytesPerSecond: 17.1e9 });

export const HOST_NUMBER_RULES: readonly Rule[] = [
  rule(`[3579]\\d\\d0x(?:3d)?${END}`, host("Ryzen")),
  rule(`1[0-5]\\d{3}(?:ks|kf|k|hx|f)${END}`, host("Core")),
];

export const HOST_WORD_RULES: readonly Rule[] = [
  wordRule("ic", `(?:intel[- ]?)?(?:core[- ]?)?(?:ultra[- ]?)?i[3579]${CPU_NUMBER}${END}`, host("Core")),
  wordRule("c", `core[- ]?ultra(?:[- ]?[579])?(?:[- ]?\\d{3}[a-z]{0,2})?${END}`, host("Core Ultra")),
  wordRule("r", `ryzen(?:[- ]?[3579])?${CPU_NUMBER}${END}`, host("Ryzen")),
  wordRule("t", `threadripper(?:[- ]?pro)?${CPU_NUMBER}${END}`, host("Threadripper", { channels: 4 })),
  wordRule("e", `epyc(?:[- ]?\\d{4}[a-z]?)?${END}`, host("EPYC", { channels: 8 })),
  wordRule("x", `xeon(?:[- ]?[ew]\\d?(?:[- ]?\\d{4}[a-z]?)?)?(?:[- ]?v\\d)?${END}`, host("Xeon", { channels: 4 })),
  wordRule("cp", `(?:celeron|pentium)(?:[- ]?[a-z]?\\d{4})?${END}`, host("Celeron")),
  wordRule("n", `n(?:95|97|100|150|200|305)${END}`, host("Intel N", { channels: 1 })),
  wordRule("r", `(?:raspberry[- ]?pi|rpi)[- ]?4${END}`, raspberryPi4),
  wordRule("r", `(?:raspberry[- ]?pi|rpi)(?:[- ]?5)?${END}`, raspberryPi5),
  wordRule("o", `orange[- ]?pi(?:[- ]?5)?(?:[- ]?(?:plus|max|pro))?${END}`, host("Orange Pi")),
  wordRule("v", `(?:vps|vm)${END}`, host("VPS")),
  wordRule("psat", `(?:phone|smartphone|android|tablet)${END}`, host("phone")),
];

export const HOST_HAN_RULES: readonly Rule[] = [
  rule("树莓派[- ]?4b?", raspberryPi4),
  // A number with a b behind it is a model's size.
  rule("树莓派(?:[- ]?5(?![\\d.]|\\s?b))?", raspberryPi5),
  rule("(?:手机|安卓|平板)", host("phone")),
];

/** What the question said of main memory's speed. */
export interface RamSpeed {
  /** 3, 4 or 5 of DDR3, DDR4, DDR5. */
  generation: number;
  /** Million transfers per second, where said. */
  megatransfers?: number;
}

/** A usual module of each generation, million transfers per second. */
const USUAL_MEGATRANSFERS: Readonly<Record<number, number>> = { 3: 1600, 4: 3200, 5: 5600 };
/** Bytes a channel moves in one transfer. */
const channelBytes = 8;
const channelsUsual = 2;
const unsaid: RamSpeed = { generation: 4 };

/** Bandwidth of main memory as far as the question tells; undefined where it tells nothing. */
export function hostBandwidth(
  facts: HostFacts,
  speed: RamSpeed | undefined,
): { bytesPerSecond: number; label?: string } | undefined {
  const { channels = channelsUsual, bandwidthBytesPerSecond } = facts;
  if (bandwidthBytesPerSecond !== undefined) return { bytesPerSecond: bandwidthBytesPerSecond };
  if (speed === undefined && channels === channelsUsual) return undefined;
  const { generation } = speed ?? unsaid;
  const megatransfers = speed?.megatransfers ?? USUAL_MEGATRANSFERS[generation]!;
  // Servers of DDR5's time have twelve channels where those before had eight.
  const wide = channels === 8 && generation === 5 ? 12 : channels;
  const bytesPerSecond = wide * channelBytes * megatransfers * 1e6;
  return { bytesPerSecond, label: memoryLabel(wide, generation, megatransfers) };
}

function memoryLabel(channels: number, generation: number, megatransfers: number): string {
  return `${channels} x DDR${generation}-${megatransfers}`;
}
