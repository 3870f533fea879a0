import { expect, it } from "vitest";
import { answerQuery } from "./answer.ts";
import { prepareAnswers } from "./prepare.ts";
import { parseQuery } from "./query.ts";

it("preparing changes no answer, however often it is done", () => {
  const before = JSON.stringify(answerQuery(parseQuery("qwen3-8b 8gb")));
  prepareAnswers();
  prepareAnswers();
  expect(JSON.stringify(answerQuery(parseQuery("qwen3-8b 8gb")))).toBe(before);
});
