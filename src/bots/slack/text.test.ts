import { describe, expect, test } from "vitest";
import { defuseMentions, escapeMrkdwn, readableText, stableBeginning, toMrkdwn } from "./text.ts";

describe("what leaves for Slack", () => {
  test("the three control characters are escaped in mrkdwn, once", () => {
    expect(escapeMrkdwn("a < b && <!channel>")).toBe("a &lt; b &amp;&amp; &lt;!channel&gt;");
  });

  test("every kind of mention loses its force in Markdown, and nothing else changes", () => {
    const harmless = "a <b> c << 1 <!-- note --> <!DOCTYPE html> <a@b.c> <@ 3 <#fragment";
    expect(defuseMentions(harmless)).toBe(harmless);
    for (const mention of ["<!channel>", "<!here|here>", "<!EVERYONE>", "<!subteam^S01>", "<@U0123>", "<#C0123>"]) {
      expect(defuseMentions(mention)).toBe(`<\u2060${mention.slice(1)}`);
    }
  });

  test("a stable beginning never changes when text is appended to it", () => {
    const whole = "Say <!channel> and <@U0123ABC> in\n```js\nif (a < b) {}\n```\nor 😀 done.";
    let shown = "";
    for (let length = 0; length <= whole.length; length++) {
      const next = stableBeginning(defuseMentions(whole.slice(0, length)));
      if (next.length < shown.length) continue;
      expect(next.startsWith(shown)).toBe(true);
      shown = next;
    }
    expect(shown).toBe(defuseMentions(whole));
  });

  test("bold, lists and headings are written in Slack's own dialect", () => {
    expect(toMrkdwn("# Top\n**a** & b\n- one\n- two")).toBe("*Top*\n*a* &amp; b\n• one\n• two");
  });
});

describe("what comes from Slack", () => {
  const read = (text: string) => readableText(text, "U0BOT", (id) => (id === "U0ANN" ? "Ann" : undefined));

  test("the bot's own mention is gone, other people have names", () => {
    expect(read("<@U0BOT> ask <@U0ANN> or <@U0BOB|bob> or <@U0EVE>")).toBe("ask @Ann or @bob or @U0EVE");
  });

  test("links, channels and groups are as they were typed, and characters are unescaped last", () => {
    expect(
      read("<https://a.b/c> <https://a.b/c|a.b/c> <https://a.b|see> <#C01|general> <!here> <!subteam^S1|@ops>"),
    ).toBe("https://a.b/c a.b/c see (https://a.b) #general @here @ops");
    expect(read("1 &lt; 2 &amp;amp; 3")).toBe("1 < 2 &amp; 3");
  });
});
