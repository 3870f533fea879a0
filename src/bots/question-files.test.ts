import { describe, expect, test } from "vitest";
import { questionFileBytesMax } from "../core/limits.ts";
import { TEXTS } from "./locale/locale.ts";
import type { QuestionFile } from "./question.ts";
import { decodeText, readQuestionFiles } from "./question-files.ts";

const file = (name: string, bytes: Uint8Array | string, more: Partial<QuestionFile> = {}): QuestionFile => ({
  name,
  sizeBytes: bytes.length,
  read: async () => (typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes),
  ...more,
});
const read = (...files: QuestionFile[]) => readQuestionFiles(files, TEXTS.en, new AbortController().signal);

describe("readQuestionFiles", () => {
  test("puts every text under its name", async () => {
    expect(await read(file("a.txt", "one\n"), file("b.md", "two"))).toEqual({
      text: "a.txt:\n```\none\n```\n\nb.md:\n```\ntwo\n```",
    });
    expect(await read()).toEqual({ text: "" });
  });

  test("takes source code that platforms call video", async () => {
    expect(await read(file("a.ts", "let x = 1;", { contentType: "text/vnd.trolltech.linguist" }))).toHaveProperty(
      "text",
    );
  });

  test.each([
    ["a picture", file("a.JPG", "x"), "is a picture"],
    ["a picture by type", file("blob", "x", { contentType: "image/webp" }), "is a picture"],
    ["a document", file("a.docx", "x"), "only read plain text"],
    ["sound", file("a.mp3", "x", { contentType: "audio/mpeg" }), "is not one"],
    ["binary data", file("a.bin", new Uint8Array([1, 0, 255])), "is not one"],
    ["too large by its word", file("a.txt", "x", { sizeBytes: questionFileBytesMax + 1 }), "too large"],
    ["too large in fact", file("a.txt", "x".repeat(questionFileBytesMax + 1), { sizeBytes: 1 }), "too large"],
    ["a broken download", file("a.txt", "", { read: () => Promise.reject(new Error("404")) }), "could not download"],
  ])("refuses %s with a reason", async (_what, one, words) => {
    expect(await read(one)).toEqual({ refusal: expect.stringContaining(words) });
  });

  test("refuses more files than it may hold", async () => {
    expect(await read(...Array.from({ length: 5 }, () => file("a.txt", "x")))).toEqual({
      refusal: "Please attach at most 4 files.",
    });
  });
});

describe("decodeText", () => {
  test("reads UTF-8, UTF-16 with a mark and GB18030", () => {
    expect(decodeText(new TextEncoder().encode("显存"))).toBe("显存");
    expect(decodeText(new Uint8Array([0xff, 0xfe, 0x3e, 0x66, 0x58, 0x5b]))).toBe("显存");
    expect(decodeText(new Uint8Array([0xcf, 0xd4, 0xb4, 0xe6]))).toBe("显存");
  });

  test("knows binary data", () => {
    expect(decodeText(new Uint8Array([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]))).toBeUndefined();
    expect(decodeText(new Uint8Array([0, 0, 0]))).toBeUndefined();
  });
});
