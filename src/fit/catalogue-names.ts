/** Model names as people type them: cut into words, numbers and sizes that can be compared. */

export interface NameTokens {
  /** Letters and digits alone, after packing and tuning words went: equal for "Qwen3-8B-GGUF" and "qwen 3 8b". */
  squashed: string;
  /** The same with those words kept: tells "GLM-4-9B-Chat" from "GLM-4-9B". */
  squashedWhole: string;
  words: readonly string[];
  numbers: readonly string[];
  /** Numbers written with a v: a fine-tune's own count ("-V2"), or part of the name ("DeepSeek V3"). */
  versions: readonly string[];
  /** "8b", "0.6b", "8x7b", "a3b", "e4b". */
  sizes: readonly string[];
}

/** What says how a model is packed or tuned, not which one it is. */
const PACKING =
  /(?:[-_.: ]|^)(?:gguf|awq|gptq|exl2|exl3|mlx|bnb|nf4|int[48]|fp8|fp16|bf16|f16|f32|mxfp4|nvfp4|safetensors|[48]-?bit|w[48]a(?:8|16)|g128|imatrix|i1|ud|qat|dynamic|ud-)(?=[-_.: ]|$)/g;
const QUANTIZATION = /(?:[-_.: ]|^)(?:ud-)?(?:i?q\d(?:_[0-9a-z]+)*|tq[12]_0)(?=[-_.: ]|$)/g;
const TUNING =
  /(?:[-_.: ]|^)(?:instruct|chat|it|hf|latest|base|pt|preview|model|sft|dpo|abliterated|uncensored)(?=[-_.: ]|$)/g;
const SIZE = /^(?:\d+x\d+(?:\.\d+)?|[ae]?\d+(?:\.\d+)?)[bmt]$/;

/** Cuts a name; packing, quantization and tuning words are dropped. */
export function tokensOf(text: string): NameTokens {
  const named = withoutOwner(text);
  const cleaned = cleanName(named);
  const words: string[] = [];
  const numbers: string[] = [];
  const versions: string[] = [];
  const sizes: string[] = [];
  for (const piece of cleaned.split(/[\s_\-/:,()+|]+/)) {
    if (piece === "") continue;
    if (SIZE.test(piece)) {
      sizes.push(normalSize(piece));
      continue;
    }
    const version = /^v(\d+(?:\.\d+)?)$/.exec(piece)?.[1];
    if (version !== undefined) {
      versions.push(version);
      continue;
    }
    for (const part of piece.match(/\d+(?:\.\d+)?[bmt](?![a-z0-9])|\d+(?:\.\d+)?|[^\d.]+/g) ?? []) {
      if (SIZE.test(part)) sizes.push(normalSize(part));
      else if (/^\d/.test(part)) numbers.push(part.replace(/\.0$/, ""));
      else if (part !== "v") words.push(part);
    }
  }
  return { squashed: squash(cleaned), squashedWhole: squash(named), words, numbers, versions, sizes };
}

function squash(text: string): string {
  return text.replace(/[^\p{L}\p{N}+]/gu, "");
}

/** Lower case, without an address, a repository's owner, or the file's ending. */
function withoutOwner(text: string): string {
  let name = text.trim().toLowerCase().slice(0, 300);
  name = name
    .replace(/^https?:\/\/[^/]+\//, "")
    .replace(/^(?:hf:|hf\.co\/|ollama:)/, "")
    .replace(/\.gguf$/, "");
  // "Qwen/Qwen3-8B-GGUF" or "Qwen/Qwen3-8B-GGUF/file": the owner says nothing the name does not.
  const parts = name.split("/").filter((part) => part !== "");
  return parts.length > 1 ? (parts[1] ?? name) : name;
}

function cleanName(text: string): string {
  let name = text;
  for (const pattern of [QUANTIZATION, PACKING, TUNING]) {
    // Twice: neighbouring matches share the separator between them.
    name = name.replace(pattern, " ").replace(pattern, " ");
  }
  return name.replace(/\s+/g, " ").trim();
}

/** "600m" as "0.6b"; "1t" as "1000b". */
function normalSize(size: string): string {
  const plain = /^(\d+(?:\.\d+)?)([bmt])$/.exec(size);
  if (plain === null) return size;
  const value = Number(plain[1]);
  const billions = plain[2] === "m" ? value / 1000 : plain[2] === "t" ? value * 1000 : value;
  return `${Number(billions.toPrecision(4))}b`;
}

/** Edits (insert, delete, replace, swap of neighbours) that turn `left` into `right`; at most `limit` + 1. */
export function editDistance(left: string, right: string, limit: number): number {
  if (Math.abs(left.length - right.length) > limit) return limit + 1;
  let before: number[] = [];
  let previous = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (let row = 1; row <= left.length; row++) {
    const current = [row];
    let best = row;
    for (let column = 1; column <= right.length; column++) {
      const same = left[row - 1] === right[column - 1];
      let cost = Math.min(
        (previous[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (previous[column - 1] ?? 0) + (same ? 0 : 1),
      );
      if (row > 1 && column > 1 && left[row - 1] === right[column - 2] && left[row - 2] === right[column - 1]) {
        cost = Math.min(cost, (before[column - 2] ?? 0) + 1);
      }
      current.push(cost);
      best = Math.min(best, cost);
    }
    if (best > limit) return limit + 1;
    before = previous;
    previous = current;
  }
  return previous[right.length] ?? limit + 1;
}
