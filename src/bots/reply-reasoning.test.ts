import { describe, expect, test } from "vitest";
import { partReasoning } from "./reply-reasoning.ts";

describe("partReasoning", () => {
  test("thoughts in tags are parted from the answer", () => {
    expect(partReasoning("<think>\n13B is 8 GB.\n</think>\n\nIt does not fit.", true)).toEqual({
      reasoning: "13B is 8 GB.",
      answer: "It does not fit.",
      thinking: false,
    });
  });

  test("a template that wrote the opening tag itself leaves a closing tag on its own line", () => {
    expect(partReasoning("Let me see.\n</think>\nYes.", true)).toMatchObject({
      reasoning: "Let me see.",
      answer: "Yes.",
    });
  });

  test("while the model thinks there is no answer yet", () => {
    expect(partReasoning("<think>Let me", false)).toEqual({ reasoning: "Let me", answer: "", thinking: true });
  });

  test("a model that never stopped thinking has no answer", () => {
    expect(partReasoning("<think>Let me", true)).toEqual({ reasoning: "Let me", answer: "", thinking: false });
  });

  test("no prefix of a stream shows a torn tag", () => {
    const whole = "<think>hm</think>Fine, a < b.";
    for (let length = 0; length <= whole.length; length++) {
      const { reasoning, answer } = partReasoning(whole.slice(0, length), false);
      expect(`${reasoning}${answer}`).not.toMatch(/think|<\//);
    }
  });

  test("text about the tag is an answer", () => {
    expect(partReasoning("The tag <think> opens and </think> closes.", true)).toEqual({
      reasoning: "",
      answer: "The tag <think> opens and </think> closes.",
      thinking: false,
    });
  });
});
