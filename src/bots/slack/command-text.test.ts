import { expect, test } from "vitest";
import { findSlashCommand, parseCommandText } from "./command-text.ts";

const parse = (name: string, text: string) => parseCommandText(findSlashCommand(name)!, text);

test("text without flags is the command's first option", () => {
  expect(parse("/ask", "  What is\nGGUF? ")).toEqual({ prompt: "What is\nGGUF?" });
  expect(parse("/fits", "13b 6gb")).toEqual({ query: "13b 6gb" });
  expect(parse("/help", "me")).toEqual({});
});

test("flags come first, also with the dash that writing programs make", () => {
  expect(parse("/ask", "--private --model qwen3 Why?")).toEqual({ private: true, model: "qwen3", prompt: "Why?" });
  expect(parse("/ask", "—private Why?")).toEqual({ private: true, prompt: "Why?" });
  expect(parse("/ask", "--model=qwen3 Why?")).toEqual({ model: "qwen3", prompt: "Why?" });
});

test("what is no flag of the command is part of the text", () => {
  expect(parse("/ask", "--verbose means what?")).toEqual({ prompt: "--verbose means what?" });
  expect(parse("/ask", "What does --private do?")).toEqual({ prompt: "What does --private do?" });
});

test("a period is known by its name in every language", () => {
  expect(parse("/stats", "week")).toEqual({ period: "week" });
  expect(parse("/usage", "7 天")).toEqual({ period: "week" });
});

test("the longer name is the same command", () => {
  expect(findSlashCommand("/snug-ask")).toBe(findSlashCommand("/ask"));
  expect(findSlashCommand("/snug-snug-ask")).toBeUndefined();
});
