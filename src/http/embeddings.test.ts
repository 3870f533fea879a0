import { describe, expect, it } from "vitest";
import { parseEmbeddingsCall, readEmbeddings, renderEmbeddings, renderEmbeddingsBody } from "./embeddings.ts";
import { parseRerankCall, readRanking, renderRanking, renderRerankBody } from "./rerank.ts";
import { decodeVector, encodeVector } from "./vector-base64.ts";

const embeddings = (more: object) => parseEmbeddingsCall({ model: "m", input: "text", ...more });
const rerank = (more: object) => parseRerankCall({ model: "m", query: "q", documents: ["a", "b"], ...more });

describe("the body for embeddings", () => {
  it("takes one text or a list of them", () => {
    expect(embeddings({})).toEqual({ request: { model: "m", inputs: ["text"] }, encoding: "float" });
    const full = { input: ["a", "b"], dimensions: 8, encoding_format: "base64", truncation: "auto", user: "ann" };
    expect(embeddings(full)).toEqual({
      request: { model: "m", inputs: ["a", "b"], dimensions: 8, truncation: "auto", userId: "ann" },
      encoding: "base64",
    });
  });

  it.each([
    [{ model: undefined }, "model"],
    [{ input: undefined }, "input"],
    [{ input: "" }, "input"],
    [{ input: [] }, "input"],
    [{ input: ["a", ""] }, "input[1]"],
    [{ input: ["a", null] }, "input[1]"],
    [{ input: { text: "a" } }, "input"],
    [{ input: new Array(2049).fill("a") }, "input"],
    [{ input: [1, 2, 3] }, "input"],
    [{ input: [[1, 2], [3]] }, "input"],
    [{ dimensions: 0 }, "dimensions"],
    [{ dimensions: 1.5 }, "dimensions"],
    [{ dimensions: "8" }, "dimensions"],
    [{ encoding_format: "int8" }, "encoding_format"],
    [{ truncation: "end" }, "truncation"],
    [{ user: 7 }, "user"],
  ])("with %j is refused, naming the field", (wrong, param) => {
    expect(() => embeddings(wrong)).toThrowError(expect.objectContaining({ code: "invalid_request", param }));
  });

  it("of token numbers is refused with what to do", () => {
    expect(() => embeddings({ input: [[9906, 1917]] })).toThrowError(/another vocabulary.*check_embedding_ctx_length/);
  });
});

describe("the body for a ranking", () => {
  it("takes documents as texts or as objects with one", () => {
    const call = rerank({ documents: ["a", { text: "b", id: 7 }], top_n: 1, return_documents: true });
    expect(call).toEqual({
      request: { model: "m", query: "q", documents: ["a", "b"], topN: 1 },
      returnDocuments: true,
    });
  });

  it.each([
    [{ query: "" }, "query"],
    [{ query: ["q"] }, "query"],
    [{ documents: [] }, "documents"],
    [{ documents: "a" }, "documents"],
    [{ documents: ["a", ""] }, "documents[1]"],
    [{ documents: ["a", { image: "x" }] }, "documents[1]"],
    [{ documents: new Array(1025).fill("a") }, "documents"],
    [{ top_n: 0 }, "top_n"],
    [{ return_documents: 1 }, "return_documents"],
    [{ truncation: true }, "truncation"],
    [{ model: "" }, "model"],
  ])("with %j is refused, naming the field", (wrong, param) => {
    expect(() => rerank(wrong)).toThrowError(expect.objectContaining({ code: "invalid_request", param }));
  });
});

describe("vectors", () => {
  const request = { model: "m", inputs: ["a", "b"] };
  const producer = { model: "m", engineId: "attic", contextLength: 256 };
  const vectors = [Float32Array.of(0.6, -0.8), Float32Array.of(1, 0)];

  it("are base64 of little-endian floats, and nothing else is", () => {
    expect([...Buffer.from(encodeVector(vectors[0]!), "base64")]).toEqual([...new Uint8Array(vectors[0]!.buffer)]);
    expect(decodeVector(encodeVector(vectors[0]!))).toEqual(vectors[0]);
    for (const wrong of ["AAA", "AAAA", "????", 5, undefined, null]) expect(decodeVector(wrong)).toBeUndefined();
  });

  it.each(["float", "base64"] as const)("come back as they went out, as %s", (encoding) => {
    const written = JSON.parse(
      JSON.stringify(renderEmbeddings({ producer, vectors, promptTokens: 7, timings: {} }, encoding)),
    );
    expect(readEmbeddings(written, request, { model: "?" })).toEqual({ producer, vectors, promptTokens: 7 });
  });

  it("of servers that do not scale them are scaled, and stand by their index", () => {
    const body = {
      data: [
        { index: 1, embedding: [3, 4] },
        { index: 0, embedding: [0, 2] },
      ],
    };
    const { vectors: read, producer: who } = readEmbeddings(body, request, { model: "fallback" });
    expect([...read[0]!]).toEqual([0, 1]);
    expect(read[1]![0]).toBeCloseTo(0.6, 6);
    expect(who).toEqual({ model: "fallback" });
  });

  it.each([
    ["nothing", undefined],
    ["too few", { data: [{ index: 0, embedding: [1] }] }],
    [
      "a hole",
      {
        data: [
          { index: 0, embedding: [1] },
          { index: 2, embedding: [1] },
        ],
      },
    ],
    [
      "words",
      {
        data: [
          { index: 0, embedding: "hello" },
          { index: 1, embedding: [1] },
        ],
      },
    ],
    [
      "text among numbers",
      {
        data: [
          { index: 0, embedding: ["1"] },
          { index: 1, embedding: [1] },
        ],
      },
    ],
  ])("that are %s are the engine's failure", (_case, body) => {
    expect(() => readEmbeddings(body, request, producer)).toThrowError(
      expect.objectContaining({ code: "engine_unavailable" }),
    );
  });

  it("are asked of any server in OpenAI's words", () => {
    expect(renderEmbeddingsBody({ ...request, dimensions: 2, userId: "ann", terms: { keyId: "key-1" } })).toEqual({
      model: "m",
      input: ["a", "b"],
      dimensions: 2,
      encoding_format: "base64",
      user: "ann",
    });
  });
});

describe("a ranking", () => {
  const call = parseRerankCall({ model: "m", query: "q", documents: ["a", "b"], return_documents: true });
  const producer = { model: "m" };

  it("comes back as it went out", () => {
    const results = [
      { index: 1, score: 0.9 },
      { index: 0, score: 0.25 },
    ];
    const written = renderRanking({ producer, results, promptTokens: 9, timings: {} }, call);
    expect(written).toMatchObject({
      results: [{ index: 1, relevance_score: 0.9, document: { text: "b" } }, { index: 0 }],
      usage: { prompt_tokens: 9, total_tokens: 9 },
    });
    expect(readRanking(written, call.request, { model: "?" })).toEqual({ producer, results, promptTokens: 9 });
  });

  it("of another server is put in order, cut, and read without what is no result", () => {
    const body = {
      results: [
        { index: 0, relevance_score: -3 },
        { index: 9, relevance_score: 5 },
        { index: 1, relevance_score: 2 },
        { index: 0.5, relevance_score: 1 },
        "nonsense",
      ],
    };
    const read = readRanking(body, { ...call.request, topN: 1 }, producer);
    expect(read.results).toEqual([{ index: 1, score: 2 }]);
    expect(() => readRanking({ results: [] }, call.request, producer)).toThrowError(
      expect.objectContaining({ code: "engine_unavailable" }),
    );
  });

  it("is asked for in the words that servers share", () => {
    expect(renderRerankBody({ ...call.request, topN: 3 })).toEqual({
      model: "m",
      query: "q",
      documents: ["a", "b"],
      top_n: 3,
    });
  });
});
