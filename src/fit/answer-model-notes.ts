/** What a model's own nature says about a plan: its eyes, and how far it was trained to read. */
import { formatBytes, formatTokens } from "../core/units.ts";
import { textOnly } from "./answer-text-only.ts";
import { CATALOGUE_MODELS, type CatalogueModel } from "./catalogue.ts";
import type { Localized } from "./query-types.ts";
import type { ModelSpec } from "./types.ts";

/** The model as it is to be planned, and what to say of pictures. `row`: the catalogue's, where there is one. */
export function viewFor(
  model: ModelSpec,
  vision: boolean,
  row: CatalogueModel | undefined,
): { model: ModelSpec; notes: Localized[] } {
  const { projectorBytes } = model;
  if (projectorBytes !== undefined) {
    const size = formatBytes(projectorBytes);
    return vision ? { model, notes: [withEyes(size)] } : { model: textOnly(model), notes: [withoutEyes(size)] };
  }
  const sees = row?.uses.includes("vision") === true;
  if (sees) return { model, notes: [unknownEyes] };
  return { model, notes: vision && row !== undefined ? [blind(row.name)] : [] };
}

function withEyes(size: string): Localized {
  return {
    en: `Its vision part (${size}) is counted on the first GPU; Snug's own engine reads text only, llama.cpp's server takes it with --mmproj.`,
    zh: `视觉部分（${size}）计入第一张显卡；Snug 自带引擎只读文本，llama.cpp server 用 --mmproj 加载。`,
  };
}

function withoutEyes(size: string): Localized {
  return {
    en: `Planned for text; its vision or audio part would take ${size} more.`,
    zh: `按纯文本规划；视觉或音频部分另需 ${size}。`,
  };
}

const unknownEyes: Localized = {
  en: "Planned for text; its vision part comes on top, and its size is not known here.",
  zh: "按纯文本规划；视觉部分另算，大小未知。",
};

function blind(name: string): Localized {
  return { en: `As far as I know ${name} reads text only.`, zh: `据我所知 ${name} 只读文本。` };
}

/** "1m" is a little more than the 1010000 tokens that are called so. */
const roundingShare = 1.05;

/** Longer contexts than a model was trained for can be allocated, and make it forget what it was doing. */
export function contextNote(model: ModelSpec, contextLength: number): Localized[] {
  const { contextLengthTrained: trained, name, provenance } = model;
  // Of a bare size only a typical shape is known.
  if (provenance === "size" || contextLength <= trained * roundingShare) return [];
  const length = formatTokens(trained);
  return [
    {
      en: `${name} was trained for ${length} of context; beyond that it needs RoPE scaling (YaRN) and answers worse.`,
      zh: `${name} 按 ${length} 上下文训练；更长需要 RoPE 缩放（YaRN），回答会变差。`,
    },
  ];
}

/** "deepseek r1" is a model and, in most shops, the name of its distills: who gave no size may mean one of them. */
export function distillNote(row: CatalogueModel | undefined, text: string): Localized[] {
  if (row === undefined || /\d\s*b\b/i.test(text)) return [];
  const base = row.name.replace(/ \d+B\b.*$/, "");
  const distill = CATALOGUE_MODELS.find(({ name }) => name.startsWith(`${base} Distill `));
  if (distill === undefined || distill.name === row.name) return [];
  return [
    {
      en: `${row.name} is the whole model; for a distill of it add the size, as in "${base.toLowerCase()} 8b".`,
      zh: `${row.name} 是完整模型；想问蒸馏版请加上大小，例如“${base.toLowerCase()} 8b”。`,
    },
  ];
}
