import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { GgufBytes } from "../../test/support/gguf-bytes.ts";
import { RangeServer } from "../../test/support/range-server.ts";
import { AppError, type ErrorCode } from "../core/errors.ts";
import { ggufRequestsMax } from "../core/limits.ts";
import { openHttpGguf } from "./gguf-http.ts";
import { openRemoteGguf, parseHubReference, resolveHubModel } from "./gguf-hub.ts";
import { loadRemoteGguf } from "./gguf-load.ts";

const server = new RangeServer();
let url = "";
beforeAll(async () => {
  url = await server.start();
});
afterEach(() => server.reset());
afterAll(() => server.stop());

/** 30k tokens of text, scores, and 3 MB of data behind the header. */
function sampleModel(): Uint8Array {
  const bytes = new GgufBytes().start(2, 4).textKey("general.architecture", "llama");
  bytes.listKey("tokenizer.ggml.tokens", 8, 30_000);
  const tokens = new GgufBytes();
  for (let index = 0; index < 30_000; index++) tokens.text(`token-${index}-${"x".repeat(20)}`);
  bytes
    .raw(tokens.bytes())
    .listKey("tokenizer.ggml.scores", 6, 500_000)
    .raw(new Uint8Array(2_000_000))
    .u32Key("llama.block_count", 1);
  return bytes
    .tensor("token_embd.weight", [64, 10_000], 1, 0)
    .tensor("output_norm.weight", [64], 0, 1_280_000)
    .data(1_280_256)
    .bytes();
}
const sample = sampleModel();

async function failure(promise: Promise<unknown>): Promise<AppError> {
  const error: unknown = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof AppError)) throw new Error(`expected an AppError, got ${String(error)}`);
  return error;
}

describe("a header over HTTP", () => {
  const open = (path: string, options: { signal?: AbortSignal; token?: string } = {}) =>
    openHttpGguf(url + path, { fetch, ...options });

  const expectSample = async (path: string) => {
    const header = await open(path);
    expect(header.vocabularySize).toBe(30_000);
    expect(header.tensors.map(({ name }) => name)).toEqual(["token_embd.weight", "output_norm.weight"]);
    expect(header.fileBytes).toBe(sample.byteLength);
  };

  it("takes a few range requests, and skips what it need not read", async () => {
    server.files.set("/m.gguf", { bytes: sample });
    await expectSample("/m.gguf");
    expect(server.seen.length).toBeLessThanOrEqual(3);
    expect(server.seen[0]!.range).toBe("bytes=0-524287");
    expect(server.bytesSent).toBeLessThan(sample.byteLength);
  });

  it("is read front to back where the server ignores ranges, once", async () => {
    server.files.set("/m.gguf", { bytes: sample, ignoresRange: true });
    await expectSample("/m.gguf");
    expect(server.seen).toHaveLength(1);
  });

  it("survives connections that break", async () => {
    server.files.set("/m.gguf", { bytes: sample, resets: 3, resetAfterBytes: 70_000 });
    await expectSample("/m.gguf");
    server.files.set("/n.gguf", { bytes: sample, resets: 3 });
    await expectSample("/n.gguf");
    server.files.set("/o.gguf", { bytes: sample, resets: 2, resetAfterBytes: 70_000, ignoresRange: true });
    await expectSample("/o.gguf");
  });

  it("gives up when they always break", async () => {
    server.files.set("/m.gguf", { bytes: sample, resets: 100 });
    const error = await failure(open("/m.gguf"));
    expect(error.code).toBe("engine_unavailable");
    expect(server.seen).toHaveLength(4);
  });

  it("is not fetched byte by byte from a server that never sends more", async () => {
    server.files.set("/m.gguf", { bytes: sample, resets: 1e9, resetAfterBytes: 1 });
    const error = await failure(open("/m.gguf"));
    expect(error.code).toBe("engine_unavailable");
    expect(server.seen.length).toBeLessThanOrEqual(ggufRequestsMax);
  });

  it("comes in small pieces from a slow server", async () => {
    server.files.set("/m.gguf", { bytes: sample, pieceBytes: 7_919 });
    await expectSample("/m.gguf");
  });

  it("is given up when the caller aborts", async () => {
    server.files.set("/m.gguf", { bytes: sample, hangs: true });
    const controller = new AbortController();
    const reading = open("/m.gguf", { signal: controller.signal });
    await expect.poll(() => server.seen.length).toBe(1);
    controller.abort(new Error("enough"));
    await expect(reading).rejects.toThrow("enough");
    expect(server.seen).toHaveLength(1);
  });

  it("follows redirects", async () => {
    server.files.set("/m.gguf", { bytes: sample, redirectTo: "/elsewhere/x" });
    server.files.set("/elsewhere/x", { bytes: sample });
    await expectSample("/m.gguf");
  });

  it("that ends early is a truncated file", async () => {
    server.files.set("/m.gguf", { bytes: sample.subarray(0, 600_000) });
    const error = await failure(open("/m.gguf"));
    expect(error.code).toBe("model_file_invalid");
    expect(error.message).toMatch(/ends at byte 600000/);
  });

  it("of a file with nothing in it is a truncated file (416)", async () => {
    server.files.set("/m.gguf", { bytes: new Uint8Array(0) });
    expect((await failure(open("/m.gguf"))).code).toBe("model_file_invalid");
  });

  it("from a server that answers another range is not believed", async () => {
    server.files.set("/m.gguf", { bytes: sample, wrongRange: true });
    expect((await failure(open("/m.gguf"))).message).toMatch(/another range/);
  });

  it.each<[number, ErrorCode, RegExp]>([
    [401, "permission_denied", /HF_TOKEN/],
    [403, "permission_denied", /HF_TOKEN/],
    [404, "model_not_found", /Check the name/],
    [429, "rate_limit_exceeded", /Wait a while/],
    [500, "engine_unavailable", /Try again later/],
    [400, "invalid_request", /HTTP 400/],
  ])("HTTP %d is %s", async (status, code, message) => {
    server.files.set("/m.gguf", { bytes: sample, status, headers: { "retry-after": "7" } });
    const error = await failure(open("/m.gguf?secret=1"));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
    expect(error.message).not.toContain("secret");
    if (status === 429) expect(error.retryAfterMs).toBe(7000);
  });

  it("needs an http address", async () => {
    for (const bad of ["file:///etc/passwd", "m.gguf", "ftp://x/y.gguf", ""]) {
      expect((await failure(openHttpGguf(bad, { fetch }))).code).toBe("invalid_request");
    }
  });
});

function part(
  index: number,
  count: number,
  tensors: string[],
  changes: { no?: number; count?: number; total?: number } = {},
) {
  const keys = index === 0 ? 4 : 3;
  const bytes = new GgufBytes().start(tensors.length, keys);
  if (index === 0) bytes.textKey("general.architecture", "llama");
  bytes
    .u32Key("split.no", changes.no ?? index)
    .u32Key("split.count", changes.count ?? count)
    .u32Key("split.tensors.count", changes.total ?? 3);
  for (const [at, name] of tensors.entries()) bytes.tensor(name, [8], 0, at * 32);
  return bytes.data(tensors.length * 32).bytes();
}

describe("a model in parts", () => {
  const path = (index: number) => `/big-0000${index + 1}-of-00003.gguf`;
  const serve = (parts: Uint8Array[]) => {
    for (const [index, bytes] of parts.entries()) server.files.set(path(index), { bytes });
  };
  const open = (index = 0) => openHttpGguf(url + path(index), { fetch });

  it("becomes one header, whichever part was named", async () => {
    serve([part(0, 3, ["a"]), part(1, 3, ["b"]), part(2, 3, ["c"])]);
    for (const index of [0, 1, 2]) {
      const header = await open(index);
      expect(header.tensors.map(({ name }) => name)).toEqual(["a", "b", "c"]);
      expect(header.metadata["general.architecture"]).toBe("llama");
      expect(header.split).toBeUndefined();
      expect(header.fileBytes).toBe(
        [0, 1, 2].reduce((sum, at) => sum + server.files.get(path(at))!.bytes.byteLength, 0),
      );
    }
  });

  it("a missing part is told by name", async () => {
    serve([part(0, 3, ["a"]), part(1, 3, ["b"])]);
    const error = await failure(open());
    expect(error.code).toBe("model_not_found");
    expect(error.message).toContain("big-00003-of-00003.gguf");
  });

  it.each<[string, Uint8Array[], RegExp]>([
    [
      "a part that is another one",
      [part(0, 3, ["a"]), part(1, 3, ["b"], { no: 2 }), part(2, 3, ["c"])],
      /Part 2 of 3 says it is part 3 of 3/,
    ],
    [
      "parts that lead back to the first",
      [part(0, 3, ["a"]), part(0, 3, ["a"]), part(0, 3, ["a"])],
      /Part 2 of 3 says it is part 1 of 3/,
    ],
    [
      "a part of another set",
      [part(0, 3, ["a"]), part(1, 3, ["b"], { count: 4 }), part(2, 3, ["c"])],
      /says it is part 2 of 4/,
    ],
    [
      "a whole file as a part",
      [part(0, 3, ["a"]), new GgufBytes().start(0, 0).bytes(), part(2, 3, ["c"])],
      /says it is a whole file/,
    ],
    ["a tensor in two parts", [part(0, 3, ["a"]), part(1, 3, ["a"]), part(2, 3, ["c"])], /"a" is in two parts/],
    [
      "too few tensors",
      [part(0, 3, ["a"], { total: 9 }), part(1, 3, ["b"]), part(2, 3, ["c"])],
      /hold 3 tensors; the first says 9/,
    ],
    [
      "a count its name does not have",
      [part(0, 3, ["a"], { count: 60_000 }), part(1, 3, ["b"]), part(2, 3, ["c"])],
      /claims 60000 parts; the limit is 512/,
    ],
    [
      "another count than the name's",
      [part(0, 3, ["a"], { count: 4 }), part(1, 3, ["b"]), part(2, 3, ["c"])],
      /its name does not end in -00001-of-00004/,
    ],
  ])("%s is refused", async (_, parts, message) => {
    serve(parts);
    const error = await failure(open());
    expect(error.code).toBe("model_file_invalid");
    expect(error.message).toMatch(message);
  });
});

describe("hf: references", () => {
  const json = (value: unknown) => ({ bytes: new TextEncoder().encode(JSON.stringify(value)) });
  const entry = (path: string, size: number) => ({ type: "file", path, size: 134, lfs: { size, oid: "a".repeat(64) } });
  const tree = "/api/models/acme/Big-GGUF/tree/main";
  const listing = [
    { type: "directory", path: "BF16", size: 0 },
    { type: "file", path: "README.md", size: 10 },
    entry("Big-Q4_K_M.gguf", sample.byteLength),
    entry("Big-Q8_0.gguf", 8_000),
    entry("Big-UD-Q2_K_XL.gguf", 2_000),
    entry("BF16/Big-BF16-00001-of-00002.gguf", 10_000),
    entry("BF16/Big-BF16-00002-of-00002.gguf", 6_000),
    entry("F32/Big-F32-00001-of-00002.gguf", 1),
    entry("mmproj-Big-F16.gguf", 900),
    entry("mmproj-Big-Q8_0.gguf", 500),
    entry("imatrix.gguf", 5),
  ];
  const options = () => ({ fetch, hubUrl: url });
  const resolve = (text: string) => resolveHubModel(parseHubReference(text)!, options());

  it.each([
    ["hf:acme/Big-GGUF", "Big-Q4_K_M.gguf", "Q4_K_M"],
    ["hf:acme/Big-GGUF:Q8_0", "Big-Q8_0.gguf", "Q8_0"],
    ["hf:acme/Big-GGUF:q8_0", "Big-Q8_0.gguf", "Q8_0"],
    ["hf:acme/Big-GGUF:Q2_K_XL", "Big-UD-Q2_K_XL.gguf", "UD-Q2_K_XL"],
    ["hf:acme/Big-GGUF:Big-Q8_0.gguf", "Big-Q8_0.gguf", "Q8_0"],
    ["hf:acme/Big-GGUF/Big-Q8_0.gguf", "Big-Q8_0.gguf", "Q8_0"],
    ["hf:acme/Big-GGUF:BF16", "BF16/Big-BF16-00001-of-00002.gguf", "BF16"],
  ])("%s is %s", async (text, path, quantization) => {
    server.files.set(tree, json(listing));
    const model = await resolve(text);
    expect(model.files[0]!.path).toBe(path);
    expect(model.quantization).toBe(quantization);
    expect(model.projector?.bytes).toBe(500);
  });

  it("parts add up, and incomplete sets are not offered", async () => {
    server.files.set(tree, json(listing));
    expect((await resolve("hf:acme/Big-GGUF:BF16")).fileBytes).toBe(16_000);
    const error = await failure(resolve("hf:acme/Big-GGUF:F32"));
    expect(error.message).toMatch(/has no "F32"; it has Q4_K_M, Q8_0, UD-Q2_K_XL, BF16/);
  });

  it("long lists are read page by page, on the same server only", async () => {
    server.files.set(tree, { ...json(listing.slice(0, 2)), headers: { link: `<${url}/page2?cursor=x>; rel="next"` } });
    server.files.set("/page2", {
      ...json([entry("Big-Q6_K.gguf", 7)]),
      headers: { link: '<https://elsewhere.test/p3>; rel="next"' },
    });
    expect((await resolve("hf:acme/Big-GGUF")).quantization).toBe("Q6_K");
  });

  it("opens the header, with the token sent to the hub", async () => {
    server.files.set(tree, { ...json(listing), token: "hf_x" });
    server.files.set("/acme/Big-GGUF/resolve/main/Big-Q4_K_M.gguf", { bytes: sample, token: "hf_x" });
    const { header, hub } = await openRemoteGguf("hf:acme/Big-GGUF", { ...options(), token: "hf_x" });
    expect(header.fileBytes).toBe(sample.byteLength);
    expect(hub?.files[0]?.sha256).toBe("a".repeat(64));
    expect((await failure(openRemoteGguf("hf:acme/Big-GGUF", options()))).code).toBe("permission_denied");
  });

  it("the token stays away from other servers", async () => {
    server.files.set("/m.gguf", { bytes: sample });
    await openRemoteGguf(`${url}/m.gguf`, { fetch, token: "hf_x" });
    expect(server.seen.map(({ authorization }) => authorization)).toEqual(server.seen.map(() => undefined));
  });

  it("a service reads from the hub alone, unless told otherwise", async () => {
    server.files.set("/Some-Q8_0.gguf", { bytes: sample });
    const elsewhere = await failure(loadRemoteGguf(`${url}/Some-Q8_0.gguf`, { fetch }));
    expect(elsewhere.code).toBe("permission_denied");
    expect(server.seen).toHaveLength(0);
    const loaded = await loadRemoteGguf(`${url}/Some-Q8_0.gguf`, { fetch, anyHost: true });
    expect(loaded.quantization).toBe("Q8_0");
    server.files.set(tree, json(listing));
    server.files.set("/acme/Big-GGUF/resolve/main/Big-Q4_K_M.gguf", { bytes: sample });
    expect(await loadRemoteGguf("hf:acme/Big-GGUF", options())).toMatchObject({
      quantization: "Q4_K_M",
      projectorBytes: 500,
    });
  });

  it("an address on the hub is a reference too", () => {
    const page = "https://huggingface.co/acme/Big-GGUF/blob/main/BF16/x.gguf?download=true";
    expect(parseHubReference(page)).toEqual({
      owner: "acme",
      repo: "Big-GGUF",
      revision: "main",
      selection: "BF16/x.gguf",
    });
    expect(parseHubReference("https://example.test/acme/Big/resolve/main/x.gguf")).toBeUndefined();
  });

  it("a revision may be given", () => {
    expect(parseHubReference("hf:a/b@v1.0:Q4_0")).toEqual({
      owner: "a",
      repo: "b",
      revision: "v1.0",
      selection: "Q4_0",
    });
  });

  it.each(["hf:acme", "hf:../../etc:x", "hf:a/b/../c", "hf:a b/c", `hf:a/${"b".repeat(600)}`])(
    "%s is no reference",
    async (text) => {
      const reference = parseHubReference(text);
      // "a/b/../c" names a file that cannot exist; it must not leave the repository.
      if (reference === undefined)
        expect((await failure(openRemoteGguf(text, options()))).code).toBe("invalid_request");
      else {
        server.files.set("/api/models/a/b/tree/main", json(listing));
        expect((await failure(resolveHubModel(reference, options()))).code).toBe("model_not_found");
      }
    },
  );

  it("a repository without models, or none at all, is told apart from a faulty hub", async () => {
    server.files.set(tree, json([{ type: "file", path: "README.md", size: 1 }]));
    expect((await failure(resolve("hf:acme/Big-GGUF"))).message).toMatch(/no GGUF model in acme\/Big-GGUF/);
    expect((await failure(resolve("hf:acme/none"))).code).toBe("model_not_found");
    server.files.set(tree, json({ error: "x" }));
    expect((await failure(resolve("hf:acme/Big-GGUF"))).code).toBe("engine_unavailable");
    server.files.set(tree, { bytes: new Uint8Array(5_000_000).fill(0x20) });
    expect((await failure(resolve("hf:acme/Big-GGUF"))).code).toBe("engine_unavailable");
  });
});
