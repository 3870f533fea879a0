/** The key-value part of a GGUF header. */
import { ggufKeptBytesMax, ggufKeyBytesMax, ggufListItemsMax, ggufMetadataKeysMax } from "../core/limits.ts";
import { type HeaderCursor, invalidFile } from "./gguf-source.ts";

export type GgufScalar = number | bigint | boolean | string;

/** A list too long to keep: a vocabulary, its merges, its scores. */
export interface GgufListSummary {
  readonly itemType: string;
  readonly length: number;
}

/** 64-bit integers beyond 2^53 are bigints; lists over `ggufListItemsMax` items are summaries. */
export type GgufValue = GgufScalar | readonly GgufScalar[] | GgufListSummary;

export type GgufMetadata = Readonly<Record<string, GgufValue>>;

interface ScalarType {
  name: string;
  bytes: number;
  read(view: DataView): GgufScalar;
}

const STRING = 8;
const LIST = 9;

/** Value types by their number in the file; strings and lists have no fixed size and are handled apart. */
const SCALARS: Readonly<Record<number, ScalarType>> = {
  0: { name: "uint8", bytes: 1, read: (view) => view.getUint8(0) },
  1: { name: "int8", bytes: 1, read: (view) => view.getInt8(0) },
  2: { name: "uint16", bytes: 2, read: (view) => view.getUint16(0, true) },
  3: { name: "int16", bytes: 2, read: (view) => view.getInt16(0, true) },
  4: { name: "uint32", bytes: 4, read: (view) => view.getUint32(0, true) },
  5: { name: "int32", bytes: 4, read: (view) => view.getInt32(0, true) },
  6: { name: "float32", bytes: 4, read: (view) => view.getFloat32(0, true) },
  7: { name: "bool", bytes: 1, read: (view) => view.getInt8(0) !== 0 },
  10: { name: "uint64", bytes: 8, read: (view) => narrow(view.getBigUint64(0, true)) },
  11: { name: "int64", bytes: 8, read: (view) => narrow(view.getBigInt64(0, true)) },
  12: { name: "float64", bytes: 8, read: (view) => view.getFloat64(0, true) },
};

function narrow(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** Reads `count` pairs. Throws `model_file_invalid` on anything llama.cpp would not read either, or past our bounds. */
export async function readMetadata(cursor: HeaderCursor, count: number): Promise<GgufMetadata> {
  if (count > ggufMetadataKeysMax) {
    throw invalidFile(
      `The header claims ${count} metadata keys; more than ${ggufMetadataKeysMax} is no model's header. Get the file again.`,
      { metadataKeys: count, metadataKeysMax: ggufMetadataKeysMax },
    );
  }
  // No prototype: keys are the file's to choose.
  const metadata: Record<string, GgufValue> = Object.create(null);
  const reader = new ValueReader(cursor);
  for (let index = 0; index < count; index++) {
    const key = await reader.text(ggufKeyBytesMax, `metadata key ${index}`);
    if (key === "") throw invalidFile(`Metadata key ${index} is empty. Get the file again.`);
    if (Object.hasOwn(metadata, key))
      throw invalidFile(`Metadata key ${shown(key)} is there twice. Get the file again.`);
    await cursor.need(4, `metadata key ${shown(key)}`);
    metadata[key] = await reader.value(cursor.u32(), shown(key));
  }
  return metadata;
}

/** At most 64 characters of a name from the file, without control characters, for messages. */
export function shown(name: string): string {
  return JSON.stringify(name.length > 64 ? `${name.slice(0, 64)}…` : name);
}

class ValueReader {
  readonly #cursor: HeaderCursor;
  readonly #decoder = new TextDecoder();
  #keptBytes = 0;

  constructor(cursor: HeaderCursor) {
    this.#cursor = cursor;
  }

  async value(type: number, key: string): Promise<GgufValue> {
    if (type === STRING) return await this.text(ggufKeptBytesMax, key);
    if (type === LIST) return await this.#list(key);
    const scalar = SCALARS[type];
    if (scalar === undefined) {
      throw invalidFile(`Metadata key ${key} has the unknown value type ${type}. Get the file again, or update Snug.`);
    }
    await this.#cursor.need(scalar.bytes, key);
    return scalar.read(this.#cursor.view(scalar.bytes));
  }

  /** A length-prefixed string. */
  async text(bytesMax: number, what: string): Promise<string> {
    await this.#cursor.need(8, what);
    const length = this.#cursor.count64();
    if (length > bytesMax) {
      throw invalidFile(`The text of ${what} claims ${length} bytes; the limit is ${bytesMax}. Get the file again.`, {
        textBytes: length,
        textBytesMax: bytesMax,
      });
    }
    this.#keep(length, what);
    await this.#cursor.need(length, what);
    return this.#decoder.decode(this.#cursor.bytes(length));
  }

  async #list(key: string): Promise<GgufValue> {
    await this.#cursor.need(12, key);
    const itemType = this.#cursor.u32();
    const length = this.#cursor.count64();
    if (itemType === STRING) return await this.#textList(length, key);
    const scalar = SCALARS[itemType];
    if (scalar === undefined) {
      const what = itemType === LIST ? "lists within a list" : `items of the unknown type ${itemType}`;
      throw invalidFile(`Metadata key ${key} holds ${what}, which llama.cpp does not read. Get the file again.`);
    }
    if (length > ggufListItemsMax) {
      this.#cursor.skip(length * scalar.bytes, key);
      return { itemType: scalar.name, length };
    }
    this.#keep(length * 8, key);
    await this.#cursor.need(length * scalar.bytes, key);
    return Array.from({ length }, () => scalar.read(this.#cursor.view(scalar.bytes)));
  }

  async #textList(length: number, key: string): Promise<GgufValue> {
    // Every text takes at least its length field.
    this.#cursor.expect(length * 8, key);
    if (length > ggufListItemsMax) {
      await this.#skipTexts(length, key);
      return { itemType: "string", length };
    }
    const items: string[] = [];
    for (let index = 0; index < length; index++) items.push(await this.text(ggufKeptBytesMax, key));
    return items;
  }

  /** Walks over strings by their lengths; waits only when the window runs out. */
  async #skipTexts(length: number, key: string): Promise<void> {
    for (let left = length; left > 0; ) {
      await this.#cursor.need(8, key);
      left -= this.#cursor.skipReadyTexts(left, key);
    }
  }

  #keep(bytes: number, what: string): void {
    this.#keptBytes += bytes;
    if (this.#keptBytes > ggufKeptBytesMax) {
      throw invalidFile(
        `The metadata holds more than ${ggufKeptBytesMax} bytes of text and lists, up to ${what}; no model needs that. Get the file again.`,
        { keptBytesMax: ggufKeptBytesMax },
      );
    }
  }
}
