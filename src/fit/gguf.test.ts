import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { SHAPES } from "../../test/support/gguf/shapes.ts";
import { writeModel } from "../../test/support/gguf/write-model.ts";
import { GgufBytes } from "../../test/support/gguf-bytes.ts";
import { AppError } from "../core/errors.ts";
import { ggufHeaderBytesMax } from "../core/limits.ts";
import { parseGguf } from "./gguf.ts";
import { missingKeys, requireLoadable } from "./gguf-required.ts";
import { type ByteSource, bufferSource } from "./gguf-source.ts";

const parse = (bytes: GgufBytes) => parseGguf(bufferSource(bytes.bytes()));

async function refusal(bytes: GgufBytes | Promise<unknown>): Promise<AppError> {
  const error: unknown = await (bytes instanceof GgufBytes ? parse(bytes) : bytes).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof AppError)) throw new Error(`expected an AppError, got ${String(error)}`);
  expect(error.code).toBe("model_file_invalid");
  return error;
}

/** Reads of a source, and how many bytes they brought in. */
function counting(source: ByteSource): ByteSource & { reads: [number, number][] } {
  const reads: [number, number][] = [];
  return {
    name: source.name,
    size: source.size,
    reads,
    read: async (offset, length) => {
      const bytes = await source.read(offset, length);
      reads.push([offset, bytes.byteLength]);
      return bytes;
    },
  };
}

describe("a header written by our own writer", () => {
  const folder = mkdtempSync(join(tmpdir(), "gguf-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  it.each(["llama", "llama-moe", "qwen2", "qwen3", "qwen3moe", "gemma3"] as const)(
    "%s comes back whole",
    async (architecture) => {
      const path = join(folder, `${architecture}.gguf`);
      const written = writeModel(path, { architecture, shape: "tiny", type: "F16" });
      const header = await parseGguf(bufferSource(readFileSync(path)));
      expect(header.headerBytes).toBe(written.headerBytes);
      expect(header.fileBytes).toBe(written.fileBytes);
      expect(header.headerBytes + header.dataBytes).toBe(written.fileBytes);
      const elements = header.tensors.map(({ dims }) => dims.reduce((product, dim) => product * dim, 1));
      expect(elements.reduce((sum, count) => sum + count, 0)).toBe(written.parameterCount);
      expect(header.vocabularySize).toBeGreaterThan(100);
      expect(missingKeys(header)).toEqual([]);
    },
  );

  it("its vocabulary is counted and not kept, when it is long", async () => {
    const path = join(folder, "wide.gguf");
    writeModel(path, { shape: { ...SHAPES.tiny, vocabularySize: 20_000 }, brain: "zeros" });
    const source = counting(bufferSource(readFileSync(path)));
    const header = await parseGguf(source);
    expect(header.vocabularySize).toBe(20_000);
    expect(header.metadata["tokenizer.ggml.tokens"]).toEqual({ itemType: "string", length: 20_000 });
  });
});

describe("values", () => {
  it("64-bit integers stay exact beyond 2^53, as bigints", async () => {
    const { metadata } = await parse(
      new GgufBytes()
        .start(0, 2)
        .u64Key("large", 2n ** 60n + 1n)
        .u64Key("small", 2 ** 40),
    );
    expect(metadata).toEqual({ large: 2n ** 60n + 1n, small: 2 ** 40 });
  });

  it("every scalar type is read", async () => {
    const bytes = new GgufBytes().start(0, 4);
    bytes.text("i8").u32(1).raw(Uint8Array.of(0xff));
    bytes.text("yes").u32(7).raw(Uint8Array.of(1));
    bytes
      .text("f32")
      .u32(6)
      .raw(new Uint8Array(new Float32Array([0.5]).buffer));
    bytes
      .text("i64")
      .u32(11)
      .u64(2n ** 64n - 7n);
    expect((await parse(bytes)).metadata).toEqual({ i8: -1, yes: true, f32: 0.5, i64: -7 });
  });

  it("a key named like a property of every object is just a key", async () => {
    const { metadata } = await parse(new GgufBytes().start(0, 2).textKey("__proto__", "a").textKey("constructor", "b"));
    expect(Object.entries(metadata)).toEqual([
      ["__proto__", "a"],
      ["constructor", "b"],
    ]);
  });

  it("long lists of numbers are passed over without being read", async () => {
    const count = 3_000_000;
    const bytes = new GgufBytes()
      .start(0, 2)
      .listKey("scores", 6, count)
      .raw(new Uint8Array(count * 4))
      .u32Key("after", 9);
    const source = counting(bufferSource(bytes.bytes()));
    const header = await parseGguf(source);
    expect(header.metadata).toEqual({ scores: { itemType: "float32", length: count }, after: 9 });
    expect(source.reads.reduce((sum, [, read]) => sum + read, 0)).toBeLessThan(1_000_000);
  });

  it("short lists are kept", async () => {
    const bytes = new GgufBytes().start(0, 1).listKey("heads", 4, 3).u32(8).u32(0).u32(8);
    expect((await parse(bytes)).metadata).toEqual({ heads: [8, 0, 8] });
  });

  it("a source that hands out single bytes gives the same header", async () => {
    const bytes = new GgufBytes().start(1, 1).textKey("general.name", "näme").tensor("a", [32], 8, 0).data(34).bytes();
    const drip: ByteSource = {
      name: "drip",
      size: bytes.length,
      read: async (offset) => bytes.slice(offset, offset + 1),
    };
    expect(await parseGguf(drip)).toEqual(await parseGguf(bufferSource(bytes)));
  });

  it("version 2 is read like version 3", async () => {
    expect((await parse(new GgufBytes().start(0, 1, 2).u32Key("a", 1))).version).toBe(2);
  });
});

describe("tensors", () => {
  it("offset, bytes and data section follow from the table", async () => {
    const bytes = new GgufBytes().start(2, 0).tensor("a", [256, 3], 12, 0).tensor("b", [5], 0, 448).data(480);
    const header = await parse(bytes);
    expect(header.tensors).toEqual([
      { name: "a", dims: [256, 3], type: "Q4_K", offset: 0, bytes: 432 },
      { name: "b", dims: [5], type: "F32", offset: 448, bytes: 20 },
    ]);
    expect(header.dataBytes).toBe(480);
    expect(header.headerBytes % 32).toBe(0);
  });

  it("another alignment is honoured", async () => {
    const bytes = new GgufBytes().start(2, 1).u32Key("general.alignment", 128);
    bytes.tensor("a", [1], 0, 0).tensor("b", [1], 0, 128).data(132, 128);
    const header = await parse(bytes);
    expect([header.alignment, header.headerBytes % 128, header.dataBytes]).toEqual([128, 0, 256]);
  });

  it("the size is worked out when the source does not know it", async () => {
    const bytes = new GgufBytes().start(1, 0).tensor("a", [32, 2], 8, 0).bytes();
    const header = await parseGguf({
      name: "start of a file",
      read: async (from, length) => bytes.slice(from, from + length),
    });
    expect(header.fileBytes).toBe(header.headerBytes + 96);
  });
});

describe("a broken header is refused with model_file_invalid, naming value and limit:", () => {
  const cases: [string, GgufBytes, RegExp][] = [
    [
      "not GGUF",
      new GgufBytes().raw(new TextEncoder().encode("PK\u0003\u0004 and more")),
      /does not start with "GGUF"/,
    ],
    ["empty", new GgufBytes(), /ends at byte 0/],
    ["big-endian", new GgufBytes().start(0, 0, 0x03000000), /big-endian/],
    ["version 1", new GgufBytes().start(0, 0, 1), /version 1; versions 2 and 3/],
    ["version 4", new GgufBytes().start(0, 0, 4), /version 4/],
    ["too many keys", new GgufBytes().start(0, 2n ** 62n), /4611686018427388000 metadata keys; more than 4096/],
    ["too many tensors", new GgufBytes().start(2n ** 64n - 1n, 0), /tensors; more than 65536/],
    ["more tensors than bytes", new GgufBytes().start(60_000, 0), /ends at byte 24, in the middle of the tensor table/],
    ["a key without end", new GgufBytes().start(0, 1).u64(70_000), /claims 70000 bytes; the limit is 65535/],
    ["an empty key", new GgufBytes().start(0, 1).u32Key("", 1), /key 0 is empty/],
    ["a key twice", new GgufBytes().start(0, 2).u32Key("a", 1).u32Key("a", 2), /"a" is there twice/],
    ["a value of unknown type", new GgufBytes().start(0, 1).text("a").u32(13), /"a" has the unknown value type 13/],
    [
      "a text beyond its bound",
      new GgufBytes()
        .start(0, 1)
        .text("a")
        .u32(8)
        .u64(2 ** 33),
      /8589934592 bytes; the limit is 8388608/,
    ],
    [
      "a list beyond the file",
      new GgufBytes().start(0, 1).listKey("a", 8, 2 ** 40),
      /ends at byte .* in the middle of "a"/,
    ],
    ["a long list of numbers beyond it", new GgufBytes().start(0, 1).listKey("a", 10, 2n ** 63n), /ends at byte/],
    ["lists within a list", new GgufBytes().start(0, 1).listKey("a", 9, 1).u32(9), /holds lists within a list/],
    ["a list of unknown items", new GgufBytes().start(0, 1).listKey("a", 77, 1), /items of the unknown type 77/],
    [
      "an odd alignment",
      new GgufBytes().start(0, 1).u32Key("general.alignment", 24),
      /general.alignment is 24; expected a power of two/,
    ],
    ["no alignment", new GgufBytes().start(0, 1).u32Key("general.alignment", 0), /general.alignment is 0/],
    ["a text as alignment", new GgufBytes().start(0, 1).textKey("general.alignment", "32"), /expected a power of two/],
    [
      "a long tensor name",
      new GgufBytes().start(1, 0).tensor("x".repeat(64), [1], 0, 0),
      /claims 64 bytes; ggml allows 63/,
    ],
    [
      "too many dimensions",
      new GgufBytes().start(1, 0).tensor("a", [1, 1, 1, 1, 1], 0, 0),
      /claims 5 dimensions; ggml allows 4/,
    ],
    [
      "a dimension of 0",
      new GgufBytes().start(1, 0).tensor("a", [4, 0], 0, 0).data(32),
      /Dimension 1 of tensor "a" is 0/,
    ],
    [
      "an absurd dimension",
      new GgufBytes().start(1, 0).tensor("a", [2n ** 50n], 0, 0),
      /Dimension 0 of tensor "a" is 1125899906842624/,
    ],
    [
      "an absurd product",
      new GgufBytes().start(1, 0).tensor("a", [2 ** 40, 2 ** 40], 0, 0),
      /Tensor "a".*larger than any machine/,
    ],
    [
      "rows that are no blocks",
      new GgufBytes().start(1, 0).tensor("a", [100], 12, 0),
      /"a".*multiple of 256.*rows of 100/,
    ],
    [
      "a withdrawn tensor type",
      new GgufBytes().start(1, 0).tensor("a", [32], 31, 0),
      /type 31, which llama.cpp does not know/,
    ],
    [
      "a tensor twice",
      new GgufBytes().start(2, 0).tensor("a", [1], 0, 0).tensor("a", [1], 0, 32),
      /"a" is there twice/,
    ],
    [
      "overlapping tensors",
      new GgufBytes().start(2, 0).tensor("a", [16], 0, 0).tensor("b", [1], 0, 32).data(99),
      /start at 32; .* ends at 64, so they overlap/,
    ],
    [
      "a misaligned tensor",
      new GgufBytes().start(1, 0).tensor("a", [1], 0, 7).data(99),
      /start at 7; that is not aligned to 32/,
    ],
    [
      "a gap between tensors",
      new GgufBytes().start(1, 0).tensor("a", [1], 0, 64).data(99),
      /start at 64; 0 was expected/,
    ],
    [
      "data that is not there",
      new GgufBytes().start(1, 0).tensor("a", [512], 0, 0).data(99),
      /has 163 bytes, and its tensors go on to byte 2112/,
    ],
    [
      "a part beyond its count",
      new GgufBytes().start(0, 2).u32Key("split.no", 3).u32Key("split.count", 3),
      /part 4 of 3/,
    ],
    [
      "a text as part count",
      new GgufBytes().start(0, 1).textKey("split.count", "two"),
      /split.count is two; expected a whole number/,
    ],
  ];

  it.each(cases)("%s", async (_, bytes, message) => {
    expect((await refusal(bytes)).message).toMatch(message);
  });

  it("every cut of a valid header", async () => {
    const whole = new GgufBytes().start(2, 2).textKey("general.name", "cut").listKey("l", 8, 2).text("a").text("b");
    const bytes = whole.tensor("a", [32], 8, 0).tensor("b", [4], 0, 64).data(80).bytes();
    for (let length = 0; length < bytes.length; length++) {
      const error = await refusal(parseGguf(bufferSource(bytes.slice(0, length))));
      expect(error.message).toMatch(/Get|get/);
    }
    expect((await parseGguf(bufferSource(bytes))).tensors).toHaveLength(2);
  });

  it("a header that goes on past all reason, before it is read", async () => {
    const start = new GgufBytes().start(0, 1).listKey("tokens", 8, 5_000_000).bytes();
    const endless: ByteSource = {
      name: "endless",
      read: async (offset, length) => (offset === 0 ? start : new Uint8Array(length).fill(1)),
    };
    const source = counting(endless);
    expect((await refusal(parseGguf(source))).message).toMatch(/more than 64 MiB is no model's header/);
    expect(source.reads.reduce((sum, [, read]) => sum + read, 0)).toBeLessThanOrEqual(ggufHeaderBytesMax);
  });

  it("more text than any model needs", async () => {
    const bytes = new GgufBytes().start(0, 3);
    for (const key of ["a", "b", "c"]) bytes.textKey(key, "x".repeat(4_000_000));
    expect((await refusal(bytes)).message).toMatch(/more than 8388608 bytes of text and lists/);
  });

  it("control characters of a name do not reach the message", async () => {
    const error = await refusal(new GgufBytes().start(1, 0).tensor("a\u0007\n", [1], 0, 7).data(99));
    expect(error.message).toContain(String.raw`"a\u0007\n"`);
  });
});

describe("what llama.cpp needs", () => {
  const folder = mkdtempSync(join(tmpdir(), "gguf-drop-"));
  const path = join(folder, "dropped.gguf");
  afterAll(() => rmSync(folder, { recursive: true }));
  const headerWithout = async (architecture: "llama" | "llama-moe" | "qwen3" | "qwen3moe", drop: string) => {
    writeModel(path, { architecture, shape: "tiny", drop: [drop] });
    return await parseGguf(bufferSource(readFileSync(path)));
  };

  it.each([
    ["llama", "llama.attention.head_count"],
    ["llama", "llama.feed_forward_length"],
    ["qwen3", "qwen3.attention.head_count"],
    ["qwen3", "qwen3.feed_forward_length"],
    ["llama-moe", "llama.expert_count"],
    ["llama-moe", "llama.expert_used_count"],
    ["qwen3moe", "qwen3moe.expert_count"],
  ] as const)("%s without %s would abort the process", async (architecture, drop) => {
    expect(missingKeys(await headerWithout(architecture, drop))[0]).toEqual({
      name: drop,
      kind: "key",
      effect: "abort",
      problem: "is missing",
    });
  });

  it.each([
    ["llama", "general.architecture"],
    ["llama", "llama.context_length"],
    ["llama", "llama.embedding_length"],
    ["llama", "llama.block_count"],
    ["llama", "llama.attention.layer_norm_rms_epsilon"],
    ["llama", "tokenizer.ggml.model"],
    ["llama", "tokenizer.ggml.tokens"],
    ["llama", "tokenizer.ggml.merges"],
    ["llama", "token_embd.weight"],
  ] as const)("%s without %s would not load", async (architecture, drop) => {
    const header = await headerWithout(architecture, drop);
    expect(missingKeys(header).filter(({ effect }) => effect === "refusal")).toMatchObject([{ name: drop }]);
    expect(() => requireLoadable(header)).toThrow(/llama.cpp cannot load this file/);
  });

  it("what may be absent is not asked for", async () => {
    for (const drop of ["qwen3moe.feed_forward_length", "general.name", "tokenizer.ggml.pre"]) {
      expect(missingKeys(await headerWithout("qwen3moe", drop))).toEqual([]);
    }
  });

  it("a BERT tokenizer needs its number of token types", () => {
    const metadata = {
      "general.architecture": "bert",
      "bert.context_length": 512,
      "bert.embedding_length": 384,
      "bert.block_count": 6,
      "bert.attention.layer_norm_epsilon": 1e-12,
      "tokenizer.ggml.model": "bert",
      "tokenizer.ggml.tokens": { itemType: "string", length: 30_522 },
    };
    const tensors = [{ name: "token_embd.weight", dims: [384, 30_522], type: "F16", offset: 0, bytes: 1 } as const];
    expect(missingKeys({ metadata, tensors }).map(({ name }) => name)).toEqual(["tokenizer.ggml.token_type_count"]);
  });

  it("counts that trip an assertion are told", async () => {
    const tensors: never[] = [];
    const base = {
      "general.architecture": "llama",
      "llama.context_length": 1,
      "llama.embedding_length": 1,
      "tokenizer.ggml.model": "none",
    };
    for (const [key, value] of [
      ["block_count", 0],
      ["block_count", 513],
      ["nextn_predict_layers", 3],
      ["expert_count", 4096],
    ] as const) {
      const metadata = { ...base, "llama.block_count": 2, [`llama.${key}`]: value };
      expect(missingKeys({ metadata, tensors })[0]).toMatchObject({ name: `llama.${key}`, effect: "abort" });
    }
  });
});
