/** Builds GGUF headers byte by byte, wrong ones included. */

export class GgufBytes {
  readonly #parts: Uint8Array[] = [];

  raw(bytes: Uint8Array): this {
    this.#parts.push(bytes);
    return this;
  }

  u32(value: number): this {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, true);
    return this.raw(bytes);
  }

  u64(value: number | bigint): this {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true);
    return this.raw(bytes);
  }

  text(value: string): this {
    const bytes = new TextEncoder().encode(value);
    return this.u64(bytes.byteLength).raw(bytes);
  }

  /** Magic, version and counts. */
  start(tensors: number | bigint, keys: number | bigint, version = 3): this {
    return this.raw(new TextEncoder().encode("GGUF")).u32(version).u64(tensors).u64(keys);
  }

  textKey(key: string, value: string): this {
    return this.text(key).u32(8).text(value);
  }

  u32Key(key: string, value: number): this {
    return this.text(key).u32(4).u32(value);
  }

  u64Key(key: string, value: number | bigint): this {
    return this.text(key).u32(10).u64(value);
  }

  /** Starts a list; the items follow. */
  listKey(key: string, itemType: number, length: number | bigint): this {
    return this.text(key).u32(9).u32(itemType).u64(length);
  }

  tensor(name: string, dims: readonly (number | bigint)[], typeId: number, offset: number | bigint): this {
    this.text(name).u32(dims.length);
    for (const dim of dims) this.u64(dim);
    return this.u32(typeId).u64(offset);
  }

  /** Pads to `alignment` and adds `bytes` of zero data. */
  data(bytes: number, alignment = 32): this {
    const length = this.length;
    return this.raw(new Uint8Array(Math.ceil(length / alignment) * alignment - length + bytes));
  }

  get length(): number {
    return this.#parts.reduce((sum, part) => sum + part.byteLength, 0);
  }

  bytes(): Uint8Array {
    const bytes = new Uint8Array(this.length);
    let at = 0;
    for (const part of this.#parts) {
      bytes.set(part, at);
      at += part.byteLength;
    }
    return bytes;
  }
}
