/**
 * Tiny tokenizers: byte-level BPE ("gpt2") and SentencePiece-like ("llama"). Each encodes any UTF-8 text through byte
 * tokens and knows the words of `SCRIPT_LINES` as whole tokens.
 */
import type { MetadataEntry } from "./container.ts";

/** What scripted models say. No word repeats within a line, so greedy decoding never loops inside one. */
export const SCRIPT_LINES = [
  "Hello from a tiny random model built to check streaming, batching and cancel on this node.",
  "The queue holds requests until one slot becomes free again.",
  "Memory use was measured before loading any weights into the card.",
] as const;

const TOKEN_KIND = { normal: 1, unknown: 2, control: 3, unused: 5, byte: 6 } as const;

export interface Vocabulary {
  tokens: string[];
  metadata: MetadataEntry[];
  /** Token id of a script word, by its text without the leading space. */
  wordIds: Map<string, number>;
  newlineId: number;
  endOfTurnId: number;
}

export type ChatTemplate = "chatml" | "llama3" | "gemma";

interface TemplateText {
  start: string;
  end: string;
  eos: string;
  bos: string;
  jinja: string;
}

const TEMPLATES: Record<ChatTemplate, TemplateText> = {
  chatml: {
    start: "<|im_start|>",
    end: "<|im_end|>",
    eos: "<|im_end|>",
    bos: "<|endoftext|>",
    jinja:
      "{%- for m in messages -%}{{- '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' -}}" +
      "{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}",
  },
  llama3: {
    start: "<|start_header_id|>",
    end: "<|eot_id|>",
    eos: "<|eot_id|>",
    bos: "<|begin_of_text|>",
    jinja:
      "{{- bos_token -}}{%- for m in messages -%}" +
      "{{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + m['content'] + '<|eot_id|>' -}}{%- endfor -%}" +
      "{%- if add_generation_prompt -%}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}{%- endif -%}",
  },
  gemma: {
    start: "<start_of_turn>",
    end: "<end_of_turn>",
    eos: "<eos>",
    bos: "<bos>",
    jinja:
      "{{- bos_token -}}{%- for m in messages -%}{%- set role = 'model' if m['role'] == 'assistant' else m['role'] -%}" +
      "{{- '<start_of_turn>' + role + '\\n' + m['content'] + '<end_of_turn>\\n' -}}{%- endfor -%}" +
      "{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}",
  },
};

/** Control tokens real models carry beside their template's. */
const EXTRA_CONTROL_TOKENS = [
  "<|endoftext|>",
  "<|end_header_id|>",
  "<think>",
  "</think>",
  "<tool_call>",
  "</tool_call>",
];

/** Tokens with their kinds; adding a known one changes nothing. */
class TokenTable {
  readonly tokens: string[] = [];
  readonly kinds: number[] = [];
  readonly #ids = new Map<string, number>();

  /** True when the token was new. */
  add(token: string, kind: number): boolean {
    if (this.#ids.has(token)) return false;
    this.#ids.set(token, this.tokens.length);
    this.tokens.push(token);
    this.kinds.push(kind);
    return true;
  }

  id(token: string): number {
    const id = this.#ids.get(token);
    if (id === undefined) throw new Error(`no token ${token}`);
    return id;
  }

  /** Placeholders up to `size`: a real vocabulary's size without its content. */
  padTo(size: number): void {
    for (let i = this.tokens.length; i < size; i++) this.add(`<|unused_${i}|>`, TOKEN_KIND.unused);
  }
}

export interface BpeOptions {
  template: ChatTemplate;
  /** `tokenizer.ggml.pre`: "qwen2", "llama-bpe" … */
  pre: string;
  size: number;
}

export function createBpeVocabulary({ template, pre, size }: BpeOptions): Vocabulary {
  const text = TEMPLATES[template];
  const alias = byteAliases();
  const table = new TokenTable();
  for (const byte of alias) table.add(byte, TOKEN_KIND.normal);
  const wordIds = new Map<string, number>();
  const merges: string[] = [];
  // A word becomes one token through a chain of merges from the left. Each chain starts with the space, so chains of
  // different words never compete for the same pair.
  for (const word of scriptWords()) {
    let piece = alias[32]!;
    for (const character of word) {
      if (table.add(piece + character, TOKEN_KIND.normal)) merges.push(`${piece} ${character}`);
      piece += character;
    }
    wordIds.set(word, table.id(piece));
  }
  for (const token of [text.bos, text.start, text.end, text.eos, ...EXTRA_CONTROL_TOKENS])
    table.add(token, TOKEN_KIND.control);
  table.padTo(size);
  const metadata: MetadataEntry[] = [
    { key: "tokenizer.ggml.model", type: "str", value: "gpt2" },
    { key: "tokenizer.ggml.pre", type: "str", value: pre },
    { key: "tokenizer.ggml.tokens", type: "arr", of: "str", value: table.tokens },
    { key: "tokenizer.ggml.token_type", type: "arr", of: "i32", value: table.kinds },
    { key: "tokenizer.ggml.merges", type: "arr", of: "str", value: merges },
    { key: "tokenizer.ggml.bos_token_id", type: "u32", value: table.id(text.bos) },
    { key: "tokenizer.ggml.eos_token_id", type: "u32", value: table.id(text.eos) },
    { key: "tokenizer.ggml.padding_token_id", type: "u32", value: table.id("<|endoftext|>") },
    { key: "tokenizer.ggml.add_bos_token", type: "bool", value: template === "llama3" },
    { key: "tokenizer.chat_template", type: "str", value: text.jinja },
  ];
  return { tokens: table.tokens, metadata, wordIds, newlineId: table.id(alias[10]!), endOfTurnId: table.id(text.end) };
}

export function createSpmVocabulary({ size }: { size: number }): Vocabulary {
  const text = TEMPLATES.gemma;
  const table = new TokenTable();
  table.add("<unk>", TOKEN_KIND.unknown);
  for (const token of [text.bos, text.eos, text.start, text.end]) table.add(token, TOKEN_KIND.control);
  for (let byte = 0; byte < 256; byte++) table.add(byteToken(byte), TOKEN_KIND.byte);
  for (let byte = 33; byte < 127; byte++) table.add(String.fromCharCode(byte), TOKEN_KIND.normal);
  table.add("▁", TOKEN_KIND.normal);
  const wordIds = new Map<string, number>();
  for (const word of scriptWords()) {
    let piece = "▁";
    for (const character of word) {
      piece += character;
      table.add(piece, TOKEN_KIND.normal);
    }
    wordIds.set(word, table.id(piece));
  }
  table.padTo(size);
  const metadata: MetadataEntry[] = [
    { key: "tokenizer.ggml.model", type: "str", value: "llama" },
    { key: "tokenizer.ggml.pre", type: "str", value: "default" },
    { key: "tokenizer.ggml.tokens", type: "arr", of: "str", value: table.tokens },
    { key: "tokenizer.ggml.scores", type: "arr", of: "f32", value: table.tokens.map((_, index) => -index) },
    { key: "tokenizer.ggml.token_type", type: "arr", of: "i32", value: table.kinds },
    { key: "tokenizer.ggml.bos_token_id", type: "u32", value: table.id(text.bos) },
    { key: "tokenizer.ggml.eos_token_id", type: "u32", value: table.id(text.eos) },
    { key: "tokenizer.ggml.unknown_token_id", type: "u32", value: table.id("<unk>") },
    { key: "tokenizer.ggml.padding_token_id", type: "u32", value: table.id("<unk>") },
    { key: "tokenizer.ggml.add_bos_token", type: "bool", value: true },
    { key: "tokenizer.ggml.add_space_prefix", type: "bool", value: false },
    { key: "tokenizer.chat_template", type: "str", value: text.jinja },
  ];
  return {
    tokens: table.tokens,
    metadata,
    wordIds,
    newlineId: table.id(byteToken(10)),
    endOfTurnId: table.id(text.end),
  };
}

/** WordPiece of single characters and the words of the script, in lower case; "▁" marks the beginning of a word. */
export function createWordPieceVocabulary(): Vocabulary {
  const table = new TokenTable();
  table.add("[PAD]", TOKEN_KIND.control);
  table.add("[UNK]", TOKEN_KIND.unknown);
  for (const token of ["[CLS]", "[SEP]", "[MASK]"]) table.add(token, TOKEN_KIND.control);
  for (let byte = 33; byte < 127; byte++) {
    const character = String.fromCharCode(byte).toLowerCase();
    table.add(`▁${character}`, TOKEN_KIND.normal);
    table.add(character, TOKEN_KIND.normal);
  }
  const wordIds = new Map<string, number>();
  for (const word of scriptWords()) {
    const piece = `▁${word.toLowerCase()}`;
    table.add(piece, TOKEN_KIND.normal);
    wordIds.set(word, table.id(piece));
  }
  const id = (key: string, token: string): MetadataEntry => ({
    key: `tokenizer.ggml.${key}_token_id`,
    type: "u32",
    value: table.id(token),
  });
  const metadata: MetadataEntry[] = [
    { key: "tokenizer.ggml.model", type: "str", value: "bert" },
    { key: "tokenizer.ggml.tokens", type: "arr", of: "str", value: table.tokens },
    { key: "tokenizer.ggml.token_type", type: "arr", of: "i32", value: table.kinds },
    { key: "tokenizer.ggml.token_type_count", type: "u32", value: 2 },
    id("bos", "[CLS]"),
    id("eos", "[SEP]"),
    id("unknown", "[UNK]"),
    // The format spells it so.
    id("seperator", "[SEP]"),
    id("padding", "[PAD]"),
    id("cls", "[CLS]"),
    id("mask", "[MASK]"),
  ];
  return { tokens: table.tokens, metadata, wordIds, newlineId: table.id("[UNK]"), endOfTurnId: table.id("[SEP]") };
}

/** The printable character that stands for each byte in a "gpt2" vocabulary. */
function byteAliases(): string[] {
  const printable = (byte: number) =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : next++));
}

function byteToken(byte: number): string {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
}

function scriptWords(): Set<string> {
  return new Set(SCRIPT_LINES.flatMap((line) => line.split(" ")));
}
