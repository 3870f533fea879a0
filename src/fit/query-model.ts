/** The model a question means, from the names and sizes it holds. */
import { formatParameterCount } from "../core/units.ts";
import { CATALOGUE_MODELS, type CatalogueModel, findCatalogueModel } from "./catalogue.ts";
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

function readReference({ location, modelText }: FileReference): ModelReference {
  const match = findCatalogueModel(modelText);
  return match === undefined ? { kind: "gguf", location } : { kind: "gguf", location, catalogueName: match.model.name };
}

function sayFurther(reading: Reading): void {
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
  const name = titleOf(named.text);
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

/** True when the words name a model whose size is part of what it is ("phi-4", "qwq"), not a family of sizes. */
function isOneModel({ model, also }: NamedModel): boolean {
  return !also.some(
    (other) =>
      other.family === model.family && Math.abs(other.parameterCount / model.parameterCount - 1) > sizeTolerance,
  );
}

function one({ model, also, text }: NamedModel, reading: Reading): ModelReference {
  const others = also.filter(
    (other) =>
      Math.abs(other.parameterCount / model.parameterCount - 1) <= sizeTolerance && isAmbiguous(text, model, other),
  );
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

function family({ model, also, text }: NamedModel): ModelReference {
  const candidates = [model, ...also.filter((other) => other.family === model.family)].map(({ name }) => name);
  return { kind: "family", name: titleOf(text), candidates };
}

/** "qwen3" as "Qwen3": how the catalogue writes the words that were typed. */
function titleOf(text: string): string {
  const { model } = findCatalogueModel(text) ?? {};
  const squashed = text.replace(/[^a-z0-9.]/g, "");
  let title = "";
  for (const word of model?.name.split(/(?<=[ -])/) ?? []) {
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

/** The newest catalogue model with these total and active sizes ("30b-a3b"). */
function findMixture(size: Size, active: number | undefined): CatalogueModel | undefined {
  if (active === undefined) return undefined;
  return CATALOGUE_MODELS.find(
    (model) =>
      isNear(model, size) &&
      model.activeParameterCount !== undefined &&
      Math.abs(model.activeParameterCount / active - 1) < 0.2,
  );
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
