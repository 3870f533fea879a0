/**
 * The header of a GGUF file: metadata and tensor table, read from any byte source without the data behind them.
 * Everything in a file is untrusted: counts, lengths and sizes are bounded before they are believed, and whatever is
 * wrong ends in an AppError `model_file_invalid` whose message gives the value, the limit and what to do.
 */
import { ggufAlignmentMax } from "../core/limits.ts";
import { type GgufMetadata, type GgufValue, readMetadata } from "./gguf-metadata.ts";
import { type ByteSource, HeaderCursor, invalidFile } from "./gguf-source.ts";
import { checkLayout, type GgufTensor, readTensors } from "./gguf-tensors.ts";

export interface GgufHeader {
  readonly version: 2 | 3;
  /** By key as in the file; no prototype. */
  readonly metadata: GgufMetadata;
  readonly tensors: readonly GgufTensor[];
  readonly alignment: number;
  /** Offset of the data section: the length of the header with its padding. */
  readonly headerBytes: number;
  /** Length of the data section. */
  readonly dataBytes: number;
  /** Size of the file, or of all parts; worked out from the table when the source does not know it. */
  readonly fileBytes: number;
  /** Number of tokens, from the token list or the architecture's own key. */
  readonly vocabularySize: number | undefined;
  /** Place in a split file; absent for whole files and after parts were joined. */
  readonly split?: GgufSplit;
}

export interface GgufSplit {
  /** 0 for the first part. */
  readonly index: number;
  readonly count: number;
  /** Tensors of all parts together, when stated. */
  readonly tensorCount: number | undefined;
}

const MAGIC = 0x46554747;

/** Reads one file's header. Throws AppError `model_file_invalid`, and whatever the source throws. */
export async function parseGguf(source: ByteSource, options: { firstReadBytes?: number } = {}): Promise<GgufHeader> {
  const cursor = new HeaderCursor(source, options.firstReadBytes);
  const { version, tensorCount, keyCount } = await readPreamble(cursor, source.name);
  const metadata = await readMetadata(cursor, keyCount);
  const alignment = alignmentOf(metadata);
  const tensors = await readTensors(cursor, tensorCount);
  const headerBytes = tensorCount === 0 ? cursor.offset : Math.ceil(cursor.offset / alignment) * alignment;
  const dataBytes = checkLayout(tensors, alignment);
  checkSize(source, tensors, headerBytes);
  const split = splitOf(metadata);
  return {
    version,
    metadata,
    tensors,
    alignment,
    headerBytes,
    dataBytes,
    fileBytes: source.size ?? headerBytes + dataBytes,
    vocabularySize: vocabularyOf(metadata),
    ...(split === undefined ? {} : { split }),
  };
}

async function readPreamble(cursor: HeaderCursor, name: string) {
  await cursor.need(4, "the first four bytes");
  const magic = cursor.u32();
  if (magic !== MAGIC) {
    throw invalidFile(`${name} does not start with "GGUF"; it is not a GGUF model. Choose another file.`);
  }
  await cursor.need(20, "the counts at its start");
  const version = cursor.u32();
  if (version % 65_536 === 0 && version !== 0) {
    throw invalidFile(`${name} is a big-endian GGUF, which machines of today do not load. Get the little-endian one.`);
  }
  if (version !== 2 && version !== 3) {
    throw invalidFile(
      `${name} is GGUF version ${version}; versions 2 and 3 can be read. Get a newer conversion of the model.`,
    );
  }
  return { version, tensorCount: cursor.count64(), keyCount: cursor.count64() } as const;
}

function alignmentOf(metadata: GgufMetadata): number {
  const value = metadata["general.alignment"] ?? 32;
  if (typeof value !== "number" || value < 1 || value > ggufAlignmentMax || !Number.isInteger(Math.log2(value))) {
    throw invalidFile(
      `general.alignment is ${describe(value)}; expected a power of two up to ${ggufAlignmentMax}. Get the file again.`,
    );
  }
  return value;
}

/** A source that knows its size shows at once whether the data is all there. */
function checkSize(source: ByteSource, tensors: readonly GgufTensor[], headerBytes: number): void {
  const last = tensors[tensors.length - 1];
  if (last === undefined || source.size === undefined) return;
  const end = headerBytes + last.offset + last.bytes;
  if (end > source.size) {
    throw invalidFile(
      `${source.name} has ${source.size} bytes, and its tensors go on to byte ${end}. It was not downloaded completely; get it again.`,
      { fileBytes: source.size, expectedBytes: end },
    );
  }
}

function splitOf(metadata: GgufMetadata): GgufSplit | undefined {
  const count = wholeNumber(metadata, "split.count");
  if (count === undefined || count <= 1) return undefined;
  const index = wholeNumber(metadata, "split.no") ?? 0;
  if (index >= count) {
    throw invalidFile(`The file says it is part ${index + 1} of ${count}. Get the model's parts again.`);
  }
  return { index, count, tensorCount: wholeNumber(metadata, "split.tensors.count") };
}

function wholeNumber(metadata: GgufMetadata, key: string): number | undefined {
  const value = metadata[key];
  if (value === undefined) return undefined;
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) {
    throw invalidFile(`${key} is ${describe(value)}; expected a whole number. Get the file again.`);
  }
  return value;
}

function vocabularyOf(metadata: GgufMetadata): number | undefined {
  const tokens = metadata["tokenizer.ggml.tokens"];
  if (typeof tokens === "object") return tokens.length;
  const own = metadata[`${String(metadata["general.architecture"])}.vocab_size`];
  return typeof own === "number" && Number.isSafeInteger(own) && own > 0 ? own : undefined;
}

function describe(value: GgufValue): string {
  return typeof value === "object" ? "a list" : String(value).slice(0, 40);
}
