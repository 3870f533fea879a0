/** Where header bytes come from, and a cursor over them that holds one window and never more. */
import { AppError } from "../core/errors.ts";
import { ggufHeaderBytesMax, ggufReadBytesFirst, ggufReadBytesMax } from "../core/limits.ts";
import { formatBytes } from "../core/units.ts";

/** Random access to a file that need not be there as a whole: a local file, a range of a URL, a buffer. */
export interface ByteSource {
  /** What to call it in messages: a file name or address without secrets. */
  readonly name: string;
  /** Size of the whole file; undefined while unknown. May become known with the first read. */
  readonly size?: number | undefined;
  /** Bytes from `offset`: at least one and up to `length`, none only at the end of what there is. */
  read(offset: number, length: number): Promise<Uint8Array>;
  close?(): Promise<void>;
}

/** The bytes of a buffer, as a source. */
export function bufferSource(bytes: Uint8Array, name = "the file"): ByteSource {
  return { name, size: bytes.byteLength, read: async (offset, length) => bytes.subarray(offset, offset + length) };
}

/** "Not a GGUF we can use", with the value, the limit and the verdict in the message. */
export function invalidFile(message: string, details?: Record<string, unknown>): AppError {
  return new AppError("model_file_invalid", message, details === undefined ? {} : { details });
}

/**
 * Reads a header front to back. Fixed-size reads are synchronous once `need` has brought the bytes in; what is skipped
 * beyond the window is never read at all.
 */
export class HeaderCursor {
  readonly #source: ByteSource;
  #window: Uint8Array = new Uint8Array(0);
  #view: DataView = new DataView(new ArrayBuffer(0));
  /** File offset of the window's first byte. */
  #base = 0;
  /** Position within the window; may lie past its end after a skip. */
  #at = 0;
  #nextReadBytes: number;

  constructor(source: ByteSource, firstReadBytes: number = ggufReadBytesFirst) {
    this.#source = source;
    this.#nextReadBytes = firstReadBytes;
  }

  /** Offset in the file. */
  get offset(): number {
    return this.#base + this.#at;
  }

  /** Bytes that can be read without waiting. */
  get ready(): number {
    return Math.max(0, this.#window.byteLength - this.#at);
  }

  /** Makes the next `count` bytes readable. Throws `model_file_invalid` when the file or the limit ends before them. */
  async need(count: number, what: string): Promise<void> {
    if (this.ready >= count) return;
    this.expect(count, what);
    const kept = this.#at < this.#window.byteLength ? this.#window.slice(this.#at) : new Uint8Array(0);
    const base = this.offset;
    const wanted = Math.max(count, this.#nextReadBytes);
    this.#nextReadBytes = Math.min(ggufReadBytesMax, this.#nextReadBytes * 4);
    const parts: Uint8Array[] = [kept];
    let have = kept.byteLength;
    while (have < count) {
      const read = await this.#source.read(base + have, wanted - have);
      if (read.byteLength === 0) throw this.#truncated(base + have, what);
      parts.push(read);
      have += read.byteLength;
    }
    this.#replace(base, parts, have);
  }

  /** Passes over `count` bytes without reading those not read yet. */
  skip(count: number, what: string): void {
    this.expect(count, what);
    this.#at += count;
  }

  /**
   * Passes over up to `count` length-prefixed texts, as far as their lengths can be read without waiting; returns how
   * many. One loop over the window, because vocabularies have hundreds of thousands.
   */
  skipReadyTexts(count: number, what: string): number {
    const view = this.#view;
    const end = view.byteLength - 8;
    let at = this.#at;
    let passed = 0;
    for (; passed < count && at <= end; passed++) {
      at += 8 + view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
    }
    this.skip(at - this.#at, what);
    return passed;
  }

  u32(): number {
    const value = this.#view.getUint32(this.#at, true);
    this.#at += 4;
    return value;
  }

  /** A 64-bit count: exact up to 2^53; larger ones come back as some larger number, for a bound to refuse. */
  count64(): number {
    const value = this.#view.getUint32(this.#at, true) + this.#view.getUint32(this.#at + 4, true) * 2 ** 32;
    this.#at += 8;
    return value;
  }

  /** The next `length` bytes, as a view that stays valid until the next `need`. */
  bytes(length: number): Uint8Array {
    const bytes = this.#window.subarray(this.#at, this.#at + length);
    this.#at += length;
    return bytes;
  }

  /** A view of the next `length` bytes. */
  view(length: number): DataView {
    const bytes = this.bytes(length);
    return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  #replace(base: number, parts: Uint8Array[], length: number): void {
    const last = parts[parts.length - 1]!;
    if (parts.length === 2 && parts[0]!.byteLength === 0) this.#window = last;
    else {
      this.#window = new Uint8Array(length);
      let at = 0;
      for (const part of parts) {
        this.#window.set(part, at);
        at += part.byteLength;
      }
    }
    this.#view = new DataView(this.#window.buffer, this.#window.byteOffset, this.#window.byteLength);
    this.#base = base;
    this.#at = 0;
  }

  /** Refuses at once what `count` more bytes would take past the end of the file or of all reason. */
  expect(count: number, what: string): void {
    const end = this.offset + count;
    const size = this.#source.size;
    if (size !== undefined && end > size) throw this.#truncated(size, what);
    if (!(end <= ggufHeaderBytesMax)) {
      throw invalidFile(
        `The header of ${this.#source.name} goes on to byte ${end} with ${what}; more than ${formatBytes(ggufHeaderBytesMax)} is no model's header. Get the file again.`,
        { headerBytes: end, headerBytesMax: ggufHeaderBytesMax },
      );
    }
  }

  #truncated(at: number, what: string): AppError {
    return invalidFile(
      `${this.#source.name} ends at byte ${at}, in the middle of ${what}. It was not downloaded completely; get it again.`,
      { availableBytes: at },
    );
  }
}
