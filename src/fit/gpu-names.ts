/** Spelling of card names: one normal form for what people type and for what the table says. */

/** Brands and fillers that never tell two cards apart. */
const FILLER =
  /\b(?:nvidia|geforce|amd|intel|apple|graphics|card|gpu|desktop|generation|workstation|edition|blackwell|macbook pro|macbook air|macbook|mac mini|mac studio|imac|mac|ryzen)\b/g;

const CHINESE: readonly (readonly [RegExp, string])[] = [
  [/笔记本电脑|笔记本|移动版|移动端|本子/g, " laptop "],
  [/没有显卡|没显卡|无显卡|没有独显|无独显|纯cpu/g, " cpu "],
  [/(?:系统)?内存/g, " ram "],
  [/显存/g, " vram "],
  [/台式机?|桌面版?|独立显卡|独显|显卡|核显|处理器/g, " "],
  [/([一二两双三四八])\s*(?:张|块|个|卡)?\s*(?=[a-z\d])/g, "$1x "],
  [/(\d{1,2})\s*(?:张|块|卡)\s*/g, "$1x "],
];
const CHINESE_COUNTS: Record<string, string> = { 一: "1", 二: "2", 两: "2", 双: "2", 三: "3", 四: "4", 八: "8" };

/** Lower case, half width, Chinese hardware words in English, marks and commas of thousands gone. */
export function plainText(text: string): string {
  let plain = text
    .normalize("NFKC")
    .toLowerCase()
    .replace(/\((?:r|tm|c)\)|[®™©]|\(radv[^)]*\)/g, " ");
  for (const [pattern, word] of CHINESE) plain = plain.replace(pattern, word);
  plain = plain.replace(/[一二两双三四八](?=x )/g, (count) => CHINESE_COUNTS[count]!);
  return plain
    .replace(/\b(?:notebook|mobile|max-q|maxq)\b/g, "laptop")
    .replace(/\bmax\+/g, "max")
    .replace(/\s+/g, " ")
    .trim();
}

/** The words of a card's name: "RTX4060Ti" and "GeForce RTX 4060 Ti" both give rtx, 4060, ti. */
export function nameTokens(text: string): string[] {
  return plainText(text)
    .replace(FILLER, " ")
    .replace(/\b(rtx|gtx|rx|arc|titan|quadro|tesla|instinct|vega)[\s_-]*(?=[a-z]?\d)/g, "$1 ")
    .replace(/(\d)(?=(?:ti|super|xtx|xt|gre|d|m|s|x|laptop)\b)/g, "$1 ")
    .replace(/\btis\b|\bti s\b/g, "ti super")
    .replace(/[()[\]_-]+/g, " ")
    .split(" ")
    .filter((token) => token !== "");
}

/** Words that may stand before the telling part of a name. */
const PREFIXES = new Set(["rtx", "gtx", "rx", "arc", "quadro", "tesla", "instinct", "radeon", "titan", "ai"]);

/** All keys one written name answers to: itself, and itself with leading brand words dropped one by one. */
export function nameKeys(name: string): string[] {
  const tokens = nameTokens(name);
  const keys = [tokens.join(" ")];
  while (tokens.length > 1 && PREFIXES.has(tokens[0]!)) {
    tokens.shift();
    if (tokens.every((token) => PREFIXES.has(token))) break;
    keys.push(tokens.join(" "));
  }
  return keys;
}

/** Edits (insert, delete, replace, swap of neighbours) between two short words. */
export function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      let best = Math.min(row[j - 1]! + 1, last[j]! + 1, last[j - 1]! + same);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) best = Math.min(best, before[j - 2]! + 1);
      row.push(best);
    }
    before = last;
    last = row;
  }
  return last[b.length]!;
}
