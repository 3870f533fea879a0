import { describe, expect, it } from "vitest";
import {
  AppError,
  ERROR_CODES,
  ERROR_TABLE,
  renderChatError,
  renderOpenAiError,
  renderProblem,
  toAppError,
} from "./errors.ts";

describe("the error table", () => {
  it("has a sentence in each language for every code", () => {
    for (const code of ERROR_CODES) {
      expect(ERROR_TABLE[code].chat.en).toMatch(/\.$/);
      expect(ERROR_TABLE[code].chat.zh).toMatch(/。$/);
    }
  });
});

describe("AppError", () => {
  it("survives the way over a wire, but for its cause and stack", () => {
    const error = new AppError("context_length_exceeded", "Too long.", {
      cause: new Error("secret path"),
      param: "messages",
      retryAfterMs: 5,
      details: { promptTokens: 9 },
    });
    const copy = AppError.fromFacts(JSON.parse(JSON.stringify(error.toFacts())));
    expect(copy).toMatchObject({
      code: "context_length_exceeded",
      message: "Too long.",
      param: "messages",
      retryAfterMs: 5,
      details: { promptTokens: 9 },
    });
    expect(copy.cause).toBeUndefined();
    expect(copy.status).toBe(400);
  });

  it("hides the text of what was not meant for clients", () => {
    const error = toAppError(new TypeError("cannot read /home/me/secret"));
    expect(error.code).toBe("internal");
    expect(error.message).not.toContain("secret");
    expect((error.cause as Error).message).toContain("secret");
  });

  it("passes an AppError on untouched", () => {
    const error = new AppError("not_found", "No.");
    expect(toAppError(error)).toBe(error);
  });
});

describe("the renderers", () => {
  const error = new AppError("rate_limit_exceeded", "Slow down.", { retryAfterMs: 1500 });

  it("give OpenAI's body with null for an unknown param", () => {
    expect(renderOpenAiError(error)).toEqual({
      error: { message: "Slow down.", type: "rate_limit_error", param: null, code: "rate_limit_exceeded" },
    });
  });

  it("name the request id where only the log knows more", () => {
    expect(renderOpenAiError(toAppError("x"), "req_1").error.message).toContain("req_1");
    expect(renderOpenAiError(error, "req_1").error.message).not.toContain("req_1");
  });

  it("give problem details", () => {
    expect(renderProblem(error, "req_1")).toEqual({
      type: "urn:snug:error:rate_limit_exceeded",
      title: "rate limit exceeded",
      status: 429,
      detail: "Slow down.",
      instance: "req_1",
    });
  });

  it("tell a chat user how long to wait, in whole seconds rounded up", () => {
    expect(renderChatError(error, "en")).toBe("Too many questions at once. Please wait a moment. (in about 2 s)");
    expect(renderChatError(error, "zh")).toContain("约 2 秒后");
  });
});
