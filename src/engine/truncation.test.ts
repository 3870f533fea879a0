import { describe, expect, test } from "vitest";
import type { ChatMessage } from "../core/chat.ts";
import { leaveOutOldest } from "./truncation.ts";

const say = (role: ChatMessage["role"], content: string): ChatMessage => ({ role, content });
const talk = [
  say("system", "S"),
  say("user", "a"),
  say("assistant", "b"),
  say("user", "c"),
  { ...say("assistant", "d"), toolCalls: [{ id: "1", name: "f", arguments: "{}" }] },
  { ...say("tool", "e"), toolCallId: "1" },
  say("assistant", "f"),
  say("user", "g"),
];

function left(messages: readonly ChatMessage[], charsMax: number): string | undefined {
  return leaveOutOldest(messages, (some) => {
    const text = some.map(({ content }) => content).join("");
    return text.length <= charsMax ? text : undefined;
  });
}

describe("a conversation that is too long", () => {
  test("loses whole turns from its beginning, and no more than it takes", () => {
    expect(left(talk, 8)).toBe("Sabcdefg");
    expect(left(talk, 7)).toBe("Scdefg");
    expect(left(talk, 5)).toBe("Sg");
    expect(left(talk, 2)).toBe("Sg");
  });

  test("is refused when its newest turn alone is too long", () => {
    expect(left(talk, 1)).toBeUndefined();
    expect(left([say("system", "only")], 3)).toBeUndefined();
  });

  test("may begin with an assistant, or have no instructions", () => {
    expect(left([say("assistant", "hi"), say("user", "a")], 2)).toBe("a");
    expect(left([say("user", "a"), say("assistant", "b"), say("user", "c")], 1)).toBe("c");
  });

  test("is looked at a few times only, however many turns it has", () => {
    let looks = 0;
    const many = Array.from({ length: 1000 }, (_, index) => say("user", String(index % 10)));
    const kept = leaveOutOldest(many, (some) => {
      looks++;
      return some.length <= 100 ? some.length : undefined;
    });
    expect(kept).toBe(100);
    expect(looks).toBeLessThan(13);
  });
});
