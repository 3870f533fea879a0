import { describe, expect, it } from "vitest";
import { readAskedTerms, readGrantedTerms, renderTermsHeaders } from "./service-terms.ts";

const from = (headers: Record<string, string>) => (name: string) => headers[name];

describe("the terms of a request", () => {
  it("come out of their headers as they went in", () => {
    const terms = {
      keyId: "key-0123456789ab",
      weight: 2.5,
      priority: "batch",
      firstTokenMsMax: 1000,
      totalMsMax: 9000,
    } as const;
    expect(readGrantedTerms(from(renderTermsHeaders(terms)))).toEqual(terms);
    expect(readGrantedTerms(from(renderTermsHeaders(undefined)))).toEqual({});
  });

  it("of somebody without the engine's token hold no key and no weight", () => {
    const headers = renderTermsHeaders({ keyId: "key-1", weight: 10, priority: "interactive", totalMsMax: 500 });
    expect(readAskedTerms(from(headers))).toEqual({ priority: "interactive", totalMsMax: 500 });
  });

  it.each([
    ["a key that is none", { "x-snug-key": "a b\u0000" }],
    ["a weight beyond its bounds", { "x-snug-weight": "1000" }],
    ["a weight that is no number", { "x-snug-weight": "heavy" }],
    ["an empty weight", { "x-snug-weight": "" }],
  ])("leave out %s", (_case, headers) => {
    expect(readGrantedTerms(from(headers))).toEqual({});
  });

  it.each([
    ["x-snug-priority", "urgent"],
    ["x-snug-first-token-ms", "soon"],
    ["x-snug-first-token-ms", "-5"],
    ["x-snug-total-ms", "1"],
    ["x-snug-total-ms", "1e3"],
    ["x-snug-total-ms", "99999999999"],
  ])("%s: %s is refused by name", (name, value) => {
    expect(() => readAskedTerms(from({ [name]: value }))).toThrowError(
      expect.objectContaining({ code: "invalid_request", param: name }),
    );
  });
});
