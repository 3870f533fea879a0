import { describe, expect, test } from "vitest";
import { type AnswerMarks, AnswerParser, type AnswerPiece } from "./answer-parser.ts";

const think = { open: "<think>", close: "</think>" };

function marks(more: Partial<AnswerMarks> = {}): AnswerMarks {
  return { thoughts: [think], ignored: [], turnEnds: [], stops: [], ...more };
}

/** Pieces of the same kind joined. */
function joined(pieces: readonly AnswerPiece[]) {
  const of = (type: "text" | "reasoning") => pieces.map((piece) => (piece.type === type ? piece.text : "")).join("");
  const calls: { name: string | undefined; arguments: string }[] = [];
  for (const piece of pieces) {
    if (piece.type !== "tool_call") continue;
    calls[piece.index] ??= { name: piece.name, arguments: "" };
    calls[piece.index]!.arguments += piece.arguments;
  }
  return { text: of("text"), reasoning: of("reasoning"), calls };
}

function read(chunks: Iterable<string>, with_: AnswerMarks) {
  const parser = new AnswerParser(with_);
  const pieces: AnswerPiece[] = [];
  const shown: string[] = [];
  for (const chunk of chunks) {
    const now = parser.push(chunk);
    pieces.push(...now);
    shown.push(now.map((piece) => (piece.type === "tool_call" ? piece.arguments : piece.text)).join(""));
    if (parser.ended) break;
  }
  pieces.push(...parser.end());
  return { ...joined(pieces), shown, ended: parser.ended, callCount: parser.callCount };
}

describe("stop texts", () => {
  const stopping = (text: string, stops: string[]) => read(text, marks({ stops }));

  test("are not shown, nor their beginning", () => {
    expect(stopping("one STOP two", ["STOP"])).toMatchObject({
      text: "one ",
      shown: ["o", "n", "e", " ", "", "", "", ""],
      ended: true,
    });
  });

  test("come out late but whole when they were none", () => {
    const { text, shown } = stopping("STO over", ["STOP"]);
    expect(text).toBe("STO over");
    expect(shown.slice(0, 4)).toEqual(["", "", "", "STO "]);
  });

  test("begun at the end belong to the answer", () => {
    expect(stopping("to be ST", ["STOP"])).toMatchObject({ text: "to be ST", ended: false });
  });

  test("end the answer at the earliest of several", () => {
    expect(stopping("a; b, c", [",", ";", "never"])).toMatchObject({ text: "a", ended: true });
  });

  test("inside one token end the answer before them", () => {
    expect(read(["end.\n\nmore"], marks({ stops: ["\n\n"] }))).toMatchObject({ text: "end.", ended: true });
  });

  test("are found in an overlapping repetition", () => {
    expect(stopping("aab aaab", ["aaab"])).toMatchObject({ text: "aab ", ended: true });
  });

  test("of white space are found before the first word", () => {
    expect(read(["\n", "\n", "more"], marks({ stops: ["\n\n"] }))).toMatchObject({ text: "", ended: true });
  });
});

describe("thoughts", () => {
  const whole = "<think>\nIs it 8 GB?\n\nYes.\n</think>\n\nIt is 8 GB.";

  test("are told apart from the answer, however the text is cut", () => {
    for (let size = 1; size <= whole.length; size++) {
      const chunks = whole.match(new RegExp(`[^]{1,${size}}`, "g")) ?? [];
      expect(read(chunks, marks()), `pieces of ${size}`).toMatchObject({
        reasoning: "Is it 8 GB?\n\nYes.",
        text: "It is 8 GB.",
      });
    }
  });

  test("may have been begun by the prompt", () => {
    expect(read("Hm.</think>Yes.", marks({ openThought: "</think>" }))).toMatchObject({
      reasoning: "Hm.",
      text: "Yes.",
    });
  });

  test("without an end are all there is", () => {
    expect(read("<think>Let me see ", marks())).toMatchObject({ reasoning: "Let me see", text: "" });
  });

  test("begin at the beginning alone: elsewhere the tag is text", () => {
    const text = "The tag <think> opens a thought, </think> ends it.";
    expect(read(text, marks())).toMatchObject({ reasoning: "", text });
  });

  test("are not cut by the caller's stop texts", () => {
    expect(read("<think>a\nb</think>c\nd", marks({ stops: ["\n"] }))).toMatchObject({ reasoning: "a\nb", text: "c" });
  });

  test("end with the turn", () => {
    expect(read("<think>a<|end|>b", marks({ turnEnds: ["<|end|>"] }))).toMatchObject({
      reasoning: "a",
      text: "",
      ended: true,
    });
  });

  test("may follow each other, with marks of the template between them and the answer", () => {
    const channels = marks({
      thoughts: [{ open: "<|channel|>analysis<|message|>", close: "<|end|>" }],
      ignored: ["<|start|>assistant", "<|channel|>final<|message|>"],
    });
    const text =
      "<|channel|>analysis<|message|>One.<|end|><|start|>assistant<|channel|>analysis<|message|>Two.<|end|>" +
      "<|start|>assistant<|channel|>final<|message|>Three.";
    for (const chunks of [text, [text]]) {
      expect(read(chunks, channels)).toMatchObject({ reasoning: "One.Two.", text: "Three." });
    }
  });

  test("leave white space at the beginning of a plain answer alone", () => {
    expect(read("\n Hello", marks())).toMatchObject({ text: "\n Hello" });
    expect(read("  ", marks())).toMatchObject({ text: "  " });
    expect(read("<thin", marks())).toMatchObject({ text: "<thin" });
  });
});

describe("calls", () => {
  const head = (name: string) => `<tool_call>\n{"name": "${name}", "arguments": `;
  const names = ["get", "get_all", "now"];
  const calls = {
    trigger: "<tool_call>",
    heads: new Map(names.map((name) => [name, head(name)])),
    laterHeads: new Map(names.map((name) => [name, `\n${head(name)}`])),
    withoutArguments: new Map([["now", "{}"]]),
    tails: new Map(names.map((name) => [name, "}\n</tool_call>"])),
    end: "",
  };
  const form = marks({ calls });

  test("come out as names and arguments, however the text is cut", () => {
    const text = `Let me look.\n${head("get_all")}{"a": "}\\"]", "b": [{}]}}\n</tool_call>\n${head("now")}{}}\n</tool_call>`;
    for (let size = 1; size <= text.length; size++) {
      const chunks = text.match(new RegExp(`[^]{1,${size}}`, "g")) ?? [];
      expect(read(chunks, form), `pieces of ${size}`).toMatchObject({
        text: "Let me look.\n",
        calls: [
          { name: "get_all", arguments: '{"a": "}\\"]", "b": [{}]}' },
          { name: "now", arguments: "{}" },
        ],
        callCount: 2,
      });
    }
  });

  test("after thoughts are found, and the white space between is no text", () => {
    expect(read(`<think>Hm</think>\n\n${head("get")}{}}\n</tool_call>`, form)).toMatchObject({
      reasoning: "Hm",
      text: "",
      calls: [{ name: "get", arguments: "{}" }],
    });
  });

  test("end the answer where there may be but one", () => {
    const one = marks({ calls: { ...calls, laterHeads: undefined } });
    expect(read(`${head("get")}{}}\n</tool_call>more`, one)).toMatchObject({ text: "", ended: true, callCount: 1 });
  });

  test("followed by something else end the answer", () => {
    expect(read(`${head("get")}{}}\n</tool_call>And so on`, form)).toMatchObject({ text: "", ended: true });
  });

  test("that are only talked about are text", () => {
    const text = "Write <tool_call> before a call, and </tool_call> after it.";
    expect(read(text, form)).toMatchObject({ text, calls: [], ended: false });
    const stopped = marks({ calls, stops: ["after"] });
    expect(read(text, stopped)).toMatchObject({ text: "Write <tool_call> before a call, and </tool_call> " });
  });

  test("cut in the middle show what there was of them", () => {
    expect(read(`${head("get")}{"a": 1`, form)).toMatchObject({
      calls: [{ name: "get", arguments: '{"a": 1' }],
      callCount: 0,
    });
    expect(read("<tool_call>\n{", form)).toMatchObject({ text: "<tool_call>\n{", calls: [] });
  });
});
