/** Models in several files: names, and one header from the headers of all parts. */
import { ggufPartsMax } from "../core/limits.ts";
import { type GgufHeader, parseGguf } from "./gguf.ts";
import { shown } from "./gguf-metadata.ts";
import { type ByteSource, invalidFile } from "./gguf-source.ts";
import type { GgufTensor } from "./gguf-tensors.ts";

const PART_NAME = /^(?<prefix>.*)-(?<index>\d{5})-of-(?<count>\d{5})\.gguf$/i;

/** What a part's name says: "big-00002-of-00003.gguf" is part 1 (from 0) of 3. */
export function parsePartName(name: string): { prefix: string; index: number; count: number } | undefined {
  const groups = PART_NAME.exec(name)?.groups;
  if (groups === undefined) return undefined;
  const [index, count] = [Number(groups.index) - 1, Number(groups.count)];
  return index >= 0 && index < count ? { prefix: groups.prefix!, index, count } : undefined;
}

/** The name of part `index` (from 0). */
export function partName(prefix: string, index: number, count: number): string {
  return `${prefix}-${String(index + 1).padStart(5, "0")}-of-${String(count).padStart(5, "0")}.gguf`;
}

/** Later parts hold no vocabulary, so little is read of each. */
const laterPartReadBytes = 64 * 1024;

/**
 * One header for a model in one file or in parts: tensors of all, metadata of the first, sizes added up.
 *
 * @param name of the file given, any part of it; siblings are opened by name through `open`.
 * @throws AppError model_file_invalid when parts do not belong together.
 */
export async function readGgufModel(name: string, open: (name: string) => Promise<ByteSource>): Promise<GgufHeader> {
  const named = parsePartName(name);
  const first = await readPart(named === undefined ? name : partName(named.prefix, 0, named.count), open);
  if (first.split === undefined) return first;
  const { count } = first.split;
  if (count > ggufPartsMax) {
    throw invalidFile(`The model claims ${count} parts; the limit is ${ggufPartsMax}. Get the model's parts again.`);
  }
  if (named === undefined || named.count !== count) {
    throw invalidFile(
      `The file says it is one of ${count} parts, but its name does not end in -00001-of-${String(count).padStart(5, "0")}.gguf. Give the parts their own names back.`,
    );
  }
  const parts = [first];
  for (let index = 1; index < count; index++) {
    parts.push(await readPart(partName(named.prefix, index, count), open, laterPartReadBytes));
  }
  return joinParts(parts);
}

async function readPart(
  name: string,
  open: (name: string) => Promise<ByteSource>,
  firstReadBytes?: number,
): Promise<GgufHeader> {
  const source = await open(name);
  try {
    return await parseGguf(source, firstReadBytes === undefined ? {} : { firstReadBytes });
  } finally {
    await source.close?.();
  }
}

/** Parts in order, checked against each other. Throws `model_file_invalid`. */
export function joinParts(parts: readonly GgufHeader[]): GgufHeader {
  const tensors: GgufTensor[] = [];
  const names = new Set<string>();
  parts.forEach((part, index) => {
    if (part.split?.index !== index || part.split.count !== parts.length) {
      const says = part.split === undefined ? "a whole file" : `part ${part.split.index + 1} of ${part.split.count}`;
      throw invalidFile(
        `Part ${index + 1} of ${parts.length} says it is ${says}: the parts do not belong together. Get the model's parts again.`,
      );
    }
    for (const tensor of part.tensors) {
      if (names.has(tensor.name)) {
        throw invalidFile(`Tensor ${shown(tensor.name)} is in two parts. Get the model's parts again.`);
      }
      names.add(tensor.name);
      tensors.push(tensor);
    }
  });
  const [first] = parts;
  if (first === undefined) throw invalidFile("There are no parts to join.");
  const stated = first.split?.tensorCount;
  if (stated !== undefined && stated !== tensors.length) {
    throw invalidFile(
      `The parts hold ${tensors.length} tensors; the first says ${stated}. Get the model's parts again.`,
    );
  }
  const { split: _, ...whole } = first;
  const sum = (of: (part: GgufHeader) => number) => parts.reduce((total, part) => total + of(part), 0);
  return {
    ...whole,
    tensors,
    headerBytes: sum((part) => part.headerBytes),
    dataBytes: sum((part) => part.dataBytes),
    fileBytes: sum((part) => part.fileBytes),
  };
}
