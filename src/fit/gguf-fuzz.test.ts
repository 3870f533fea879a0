import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { writeModel } from "../../test/support/gguf/write-model.ts";
import { AppError } from "../core/errors.ts";
import { ggufHeaderBytesMax, ggufReadBytesMax } from "../core/limits.ts";
import { type GgufHeader, parseGguf } from "./gguf.ts";
import { missingKeys } from "./gguf-required.ts";
import type { ByteSource } from "./gguf-source.ts";
import { specFromGguf } from "./model.ts";

/** Mulberry32: the same numbers for the same seed everywhere. */
function createRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Valid headers of several architectures, without the data behind them. */
function sampleHeaders(): Uint8Array[] {
  const folder = mkdtempSync(join(tmpdir(), "gguf-fuzz-"));
  const headers = (["llama", "qwen3moe", "gemma3"] as const).map((architecture) => {
    const path = join(folder, `${architecture}.gguf`);
    const { headerBytes } = writeModel(path, { architecture, brain: "zeros", type: "Q8_0" });
    return new Uint8Array(readFileSync(path).subarray(0, headerBytes));
  });
  rmSync(folder, { recursive: true });
  return headers;
}

const GIANTS = [0n, 1n, 2n ** 16n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 40n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n];

type Mutation = (bytes: Uint8Array, random: () => number) => Uint8Array;
const at = (bytes: Uint8Array, random: () => number, room = 1) =>
  Math.floor(random() * Math.max(1, bytes.length - room));
const writeAt = (bytes: Uint8Array, offset: number, value: bigint) => {
  new DataView(bytes.buffer).setBigUint64(offset, value, true);
  return bytes;
};
const pick = <T>(list: readonly T[], random: () => number): T => list[Math.floor(random() * list.length)]!;

/** Offsets where one of these names stands; what follows a name is its value, shape or type. */
function offsetAfter(bytes: Uint8Array, name: string): number {
  const found = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).indexOf(name);
  return found < 0 ? 24 : found + name.length;
}

const MUTATIONS: Record<string, Mutation> = {
  truncated: (bytes, random) => bytes.slice(0, at(bytes, random)),
  "bit flipped": (bytes, random) => {
    for (let flips = 1 + Math.floor(random() * 4); flips > 0; flips--)
      bytes[at(bytes, random)]! ^= 1 << Math.floor(random() * 8);
    return bytes;
  },
  "giant count": (bytes, random) => writeAt(bytes, pick([8, 16], random), pick(GIANTS, random)),
  "giant number anywhere": (bytes, random) => writeAt(bytes, at(bytes, random, 8), pick(GIANTS, random)),
  "deep nesting": (bytes, random) => {
    const start = 24 + Math.floor(random() * 200);
    const nested = new Uint8Array(12).fill(0);
    nested[0] = 9;
    nested[4] = 1 + Math.floor(random() * 3);
    for (let offset = start; offset + 12 < Math.min(bytes.length, start + 4096); offset += 12)
      bytes.set(nested, offset);
    return bytes;
  },
  "zero layers": (bytes, random) => {
    const offset = offsetAfter(bytes, pick(["block_count", "head_count", "embedding_length", "expert_count"], random));
    return writeAt(bytes, Math.min(offset + 4, bytes.length - 8), pick(GIANTS, random));
  },
  "absurd dimensions": (bytes, random) => {
    const offset = offsetAfter(
      bytes,
      pick(["token_embd.weight", "blk.0.attn_k.weight", "blk.1.ffn_norm.weight"], random),
    );
    return writeAt(bytes, Math.min(offset + pick([0, 4, 12, 20], random), bytes.length - 8), pick(GIANTS, random));
  },
  "a piece moved": (bytes, random) => {
    const [from, to] = [at(bytes, random), at(bytes, random)];
    const length = Math.floor(random() * 64);
    return bytes.copyWithin(to, from, from + length);
  },
  "a piece cut out": (bytes, random) => {
    const from = at(bytes, random);
    const length = 1 + Math.floor(random() * 40);
    return new Uint8Array([...bytes.subarray(0, from), ...bytes.subarray(from + length)]);
  },
  "noise behind the magic": (bytes, random) => {
    for (let offset = 8 + at(bytes, random); offset < bytes.length; offset++)
      bytes[offset] = Math.floor(random() * 256);
    return bytes;
  },
};

/** A source of a file that goes on with zeros far behind its header, counting what it hands out. */
class CountingSource implements ByteSource {
  readonly name = "fuzz.gguf";
  readonly size: number | undefined;
  readonly #bytes: Uint8Array;
  bytesRead = 0;
  largestRead = 0;

  constructor(bytes: Uint8Array, size: number | undefined) {
    this.#bytes = bytes;
    this.size = size;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    this.largestRead = Math.max(this.largestRead, length);
    const available = Math.max(0, Math.min(length, (this.size ?? this.#bytes.length) - offset));
    const bytes = new Uint8Array(available);
    if (offset < this.#bytes.length) bytes.set(this.#bytes.subarray(offset, offset + available));
    this.bytesRead += available;
    return bytes;
  }
}

/** Everything a header says must hold together, whatever the bytes were. */
function checkHeader(header: GgufHeader): void {
  expect(Number.isSafeInteger(header.fileBytes)).toBe(true);
  const sum = header.tensors.reduce((total, tensor) => total + tensor.bytes, 0);
  expect(sum).toBeLessThanOrEqual(header.dataBytes);
  missingKeys(header);
  try {
    specFromGguf(header);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
  }
}

describe("10,000 broken headers", () => {
  const samples = sampleHeaders();
  const names = Object.keys(MUTATIONS);
  const perMutation = 10_000 / names.length;

  it.each(names)("%s: a typed error or a header that holds together, in bounded memory", async (name) => {
    const random = createRandom(names.indexOf(name) + 1);
    let [refused, accepted] = [0, 0];
    for (let round = 0; round < perMutation; round++) {
      const mutated = MUTATIONS[name]!(pick(samples, random).slice(), random);
      // Now as a file on disk, now as a stream of unknown size, now as the start of a larger file.
      const size = pick([mutated.length, undefined, mutated.length + 2 ** 31], random);
      const source = new CountingSource(mutated, size);
      try {
        checkHeader(await parseGguf(source));
        accepted++;
      } catch (error) {
        if (!(error instanceof AppError)) throw new Error(`round ${round}: ${String(error)}`, { cause: error });
        expect(error.code).toBe("model_file_invalid");
        expect(error.message.length).toBeLessThan(500);
        refused++;
      }
      // What is held at once is one window; what is read at all ends with the header.
      expect(source.largestRead).toBeLessThanOrEqual(ggufReadBytesMax);
      expect(source.bytesRead).toBeLessThanOrEqual(ggufHeaderBytesMax);
    }
    expect(refused + accepted).toBe(perMutation);
    expect(refused).toBeGreaterThan(0);
  });
});
