/** The model a question means, from the names and sizes it holds. */
import { formatParameterCount } from "../core/units.ts";
import { CATALOGUE_MODELS, type CatalogueModel, findCatalogueModel } from "./catalogue.ts";
import { tokensOf } from "./catalogue-names.ts";
import { quantizationOfName } from "./quantization-names.ts";
import type { NamedModel } from "./query-names.ts";
import type { Reading, Size } from "./query-reading.ts";
import type { FileReference } from "./query-references.ts";
import type { ModelReference } from "./query-types.ts";

/** Two sizes are the same model size within this share: "70b" is Llama's 70.6 billion, "7b" is Qwen's 7.6. */
const sizeTolerance = 0.09;
/** Names listed when the same words mean several models. */
const othersSaidMax = 3;

/** The model meant; notes say what was chosen among several. Undefined when none was named. */
export function readModel(reading: Reading): ModelReference | undefined {
  if (reading.reference !== undefined) return readReference(reading.reference);
  const named = reading.models[0];
  const size = reading.sizes[0];
  sayFurther(reading);
  if (named !== undefined) return readNamed(named, size, reading);
  if (size !== undefined) return readSize(size, reading);
  return undefined;
}

function readReference(reference: FileReference): ModelReference {
  const { location, modelText, bare } = reference;
  const match = findCatalogueModel(modelText);
  if (match !== undefined && bare === true) return { kind: "catalogue", name: match.model.name };
  const quantization = reference.quantization ?? quantizationOfName(location);
  return {
    kind: "gguf",
    location,
    ...(match !== undefined && { catalogueName: match.model.name }),
    ...(quantization !== undefined && { quantization }),
  };
}

function sayFurther(reading: Reading): void {
  const [first, second] = reading.sizes;
  if (reading.models.length === 0 && first !== undefined && second !== undefined && second.count !== first.count) {
    const left = formatParameterCount(second.count);
    reading.notes.push({ en: `One model at a time: I left out ${left}.`, zh: `一次只看一个模型：未采用 ${left}。` });
  }
  const further = reading.models[1];
  if (further === undefined || further.model === reading.models[0]?.model) return;
  reading.notes.push({
    en: `One model at a time: I left out ${further.model.name}.`,
    zh: `一次只看一个模型：未采用 ${further.model.name}。`,
  });
}

function readNamed(named: NamedModel, size: Size | undefined, reading: Reading): ModelReference {
  if (named.sized || size === undefined) return named.sized || isOneModel(named) ? one(named, reading) : family(named);
  const together = findCatalogueModel(`${named.text} ${formatParameterCount(size.count).toLowerCase()}`);
  if (together !== undefined && isNear(together.model, size))
    return one({ ...together, text: named.text, sized: true }, reading);
  if (isOneModel(named) && isNear(named.model, size)) return one(named, reading);
  const name = titleOf(named);
  const total = formatParameterCount(size.count);
  reading.notes.push({
    en: `The catalogue has no ${name} of ${total}; I planned a typical model of that size.`,
    zh: `目录中没有 ${total} 的 ${name}；按同样大小的典型模型规划。`,
  });
  return { kind: "size", parameterCount: size.count, ...activeOf(size, reading), name };
}

function isNear(model: CatalogueModel, size: Size): boolean {
  return Math.abs(model.parameterCount / size.count - 1) <= sizeTolerance;
}

const bases = new Map<string, string>();

/** A catalogue name without its sizes: "qwen 3" of "Qwen3 8B". */
function baseOf(name: string): string {
  let base = bases.get(name);
  if (base === undefined) {
    const { words, numbers } = tokensOf(name);
    base = [...words, ...numbers].join(" ");
    bases.set(name, base);
  }
  return base;
}

/** Models that differ from `model` in size alone. */
function siblings({ model, also }: NamedModel): CatalogueModel[] {
  const base = baseOf(model.name);
  return also.filter(
    (other) => baseOf(other.name) === base && Math.abs(other.parameterCount / model.parameterCount - 1) > sizeTolerance,
  );
}

/** True when the words name a model whose size is part of what it is ("phi-4", "qwq"), not a family of sizes. */
function isOneModel(named: NamedModel): boolean {
  // A plus belongs to one model's name ("command r+"), never to a family's.
  return named.text.endsWith("+") || (siblings(named).length === 0 && !isFamilyWord(named.text));
}

/** "qwen", "llama": a word for many generations. */
function isFamilyWord(text: string): boolean {
  if (!/^[a-z-]+$/.test(text)) return false;
  const list = membersOf(text);
  return list.some((model) => model.family !== list[0]?.family);
}

let members: Map<string, CatalogueModel[]> | undefined;

/** Every model of a family word, newest first. */
function membersOf(text: string): readonly CatalogueModel[] {
  if (members === undefined) {
    members = new Map();
    for (const model of CATALOGUE_MODELS) {
      if (model.uses.includes("embedding")) continue;
      const first = baseOf(model.name).split(" ")[0]!;
      const list = members.get(first) ?? [];
      list.push(model);
      members.set(first, list);
    }
  }
  return members.get(text.replace(/-/g, "")) ?? [];
}

function one({ model, also, text }: NamedModel, reading: Reading): ModelReference {
  const others = also.filter(
    (other) =>
      Math.abs(other.parameterCount / model.parameterCount - 1) <= sizeTolerance && isAmbiguous(text, model, other),
  );
  const { contextLength } = reading.wish;
  if (contextLength !== undefined && model.contextLengthTrained < contextLength) {
    // "phi 3 mini 128k": the length tells which of two is meant.
    const longer = others.find(({ contextLengthTrained }) => contextLengthTrained >= contextLength);
    if (longer !== undefined) return { kind: "catalogue", name: longer.name };
  }
  if (others.length > 0) {
    const list = others.slice(0, othersSaidMax).map(({ name }) => name);
    reading.notes.push({
      en: `I took ${model.name}; there is also ${list.join(", ")}.`,
      zh: `按 ${model.name} 计算；另有 ${list.join("、")}。`,
    });
  }
  return { kind: "catalogue", name: model.name };
}

/** Another version of what was typed, not a special edition the words would have named. */
function isAmbiguous(text: string, model: CatalogueModel, other: CatalogueModel): boolean {
  const squash = (name: string): string => name.toLowerCase().replace(/[^a-z0-9.]/g, "");
  return squash(model.name) !== squash(text) && other.name.split(" ").length <= model.name.split(" ").length;
}

/** Candidates a family word may hold; the newest. */
const familyModelsMax = 24;

function family(named: NamedModel): ModelReference {
  const { model, text } = named;
  const chosen = isFamilyWord(text) ? membersOf(text).slice(0, familyModelsMax) : [model, ...siblings(named)];
  return { kind: "family", name: titleOf(named), candidates: chosen.map(({ name }) => name) };
}

/** "qwen3" as "Qwen3": how the catalogue writes the words that were typed. */
function titleOf({ model, text }: NamedModel): string {
  const squashed = text.replace(/[^a-z0-9.]/g, "");
  let title = "";
  for (const word of model.name.split(/(?<=[ -])/)) {
    title += word;
    if (title.toLowerCase().replace(/[^a-z0-9.]/g, "") === squashed) return title.trim();
  }
  return text.replace(/(^|[\s-])[a-z]/g, (letter) => letter.toUpperCase());
}

function activeOf(size: Size, reading: Reading): { activeParameterCount?: number } {
  const active = size.activeCount ?? reading.activeCount;
  return active === undefined || active >= size.count ? {} : { activeParameterCount: active };
}

function readSize(size: Size, reading: Reading): ModelReference {
  const active = activeOf(size, reading);
  const mixture =
    size.expertCount === undefined
      ? findMixture(size, active.activeParameterCount)
      : findCatalogueModel(`mixtral ${size.expertCount}x${size.count / size.expertCount / 1e9}b`)?.model;
  if (mixture !== undefined) {
    reading.notes.push({ en: `I took that size as ${mixture.name}.`, zh: `按 ${mixture.name} 计算。` });
    return { kind: "catalogue", name: mixture.name };
  }
  if (size.expertCount !== undefined) return expertMix(size, reading);
  const name = unknownName(size, reading);
  if (name !== undefined) {
    reading.notes.push({
      en: `I do not know "${name}"; I planned a typical model of its size.`,
      zh: `不认识“${name}”；按同样大小的典型模型规划。`,
    });
  }
  return { kind: "size", parameterCount: size.count, ...active, ...(name !== undefined && { name }) };
}

/** The catalogue model these total and active sizes are known from: "30b-a3b" is Qwen3 30B A3B; the plainest name wins. */
function findMixture(size: Size, active: number | undefined): CatalogueModel | undefined {
  if (active === undefined) return undefined;
  const label = `${formatParameterCount(size.count)} A${formatParameterCount(active)}`;
  return CATALOGUE_MODELS.filter(({ name }) => name.includes(label)).sort((a, b) => a.name.length - b.name.length)[0];
}

/** "8x7b": experts share attention and embeddings, so the whole is less than the product; two experts are active. */
function expertMix({ count, expertCount }: Size, reading: Reading): ModelReference {
  const parameterCount = Math.round(count * 0.83);
  const activeParameterCount = Math.round((count / expertCount!) * 1.85);
  reading.notes.push({
    en: `I took that as ${formatParameterCount(parameterCount)} in all, ${formatParameterCount(activeParameterCount)} active.`,
    zh: `按总共 ${formatParameterCount(parameterCount)}、激活 ${formatParameterCount(activeParameterCount)} 计算。`,
  });
  return { kind: "size", parameterCount, activeParameterCount };
}

/** The unknown words directly before the size, or joined behind it by a dash: the name of a model we do not hold. */
function unknownName({ order }: Size, reading: Reading): string | undefined {
  const beside = reading.unknown.filter(
    (word) => word.order === order || (word.order === order + 1 && reading.text[word.start - 1] === "-"),
  );
  return beside.length === 0
    ? undefined
    : beside
        .map(({ text }) => text)
        .slice(0, 3)
        .join(" ")
        .slice(0, 60);
}
