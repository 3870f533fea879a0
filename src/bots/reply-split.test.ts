import { describe, expect, test } from "vitest";
import { splitMarkdown } from "./reply-split.ts";

const words = (count: number, word = "word") =>
  Array.from({ length: count }, (_, index) => `${word}${index}`).join(" ");

describe("splitMarkdown", () => {
  test("a text that fits is one page", () => {
    expect(splitMarkdown("Hello", 100)).toEqual(["Hello"]);
    expect(splitMarkdown("", 100)).toEqual([""]);
  });

  test("no page is over the limit and no word is torn", () => {
    const text = Array.from({ length: 9 }, (_, index) => words(20 + index * 7)).join("\n\n");
    for (const charsMax of [60, 100, 333, 1700]) {
      const pages = splitMarkdown(text, charsMax);
      expect(Math.max(...pages.map((page) => page.length))).toBeLessThanOrEqual(charsMax);
      expect(pages.join(" ").split(/\s+/)).toEqual(text.split(/\s+/));
    }
  });

  test("a paragraph break in the second half of the page is preferred", () => {
    const first = words(12);
    const pages = splitMarkdown(`${first}\n\n${words(12, "next")}`, 120);
    expect(pages[0]).toBe(first);
  });

  test("the first page may be shorter", () => {
    const pages = splitMarkdown(words(60), 200, 80);
    expect(pages[0]!.length).toBeLessThanOrEqual(80);
    expect(pages[1]!.length).toBeGreaterThan(80);
  });

  test("a code fence is closed at the end of a page and opened again with its language", () => {
    const code = Array.from({ length: 30 }, (_, index) => `  const line${index} = ${index};`).join("\n");
    const pages = splitMarkdown(`Here:\n\n\`\`\`ts\n${code}\n\`\`\`\nDone.`, 300);
    expect(pages.length).toBeGreaterThan(2);
    for (const page of pages) {
      expect(page.length).toBeLessThanOrEqual(300);
      expect(page.match(/```/g)!.length % 2).toBe(0);
    }
    expect(pages[1]!.startsWith("```ts\n  const line")).toBe(true);
    const lines = pages.flatMap((page) => page.split("\n")).filter((line) => line.includes("const"));
    expect(lines.join("\n")).toBe(code);
  });

  test("a code line longer than a page stays inside its fence", () => {
    const pages = splitMarkdown(`\`\`\`js\n${"x".repeat(500)}\n\`\`\`\nDone.`, 200);
    for (const page of pages) expect(page).toMatch(/^```js\nx+\n```(\nDone\.)?$/);
    expect(pages.join("").match(/x/g)).toHaveLength(500);
  });

  test("a fence still open at the end of the text is closed", () => {
    expect(splitMarkdown("```py\nprint(1)", 100)).toEqual(["```py\nprint(1)\n```"]);
  });

  test("a table that would be torn moves to the next page whole", () => {
    const table = `| size | fits |\n|---|---|\n${Array.from({ length: 5 }, (_, i) => `| ${i}B | yes |`).join("\n")}`;
    const pages = splitMarkdown(`${words(14)}\n\n${table}\n\nThat was it.`, 160);
    expect(pages[0]).toBe(words(14));
    expect(pages[1]).toContain(table);
  });

  test("a table longer than a page is cut between rows and its header repeated", () => {
    const rows = Array.from({ length: 40 }, (_, index) => `| ${index}B | yes |`);
    const pages = splitMarkdown(`| size | fits |\n|---|---|\n${rows.join("\n")}`, 200);
    expect(pages.length).toBeGreaterThan(2);
    for (const page of pages) {
      expect(page.length).toBeLessThanOrEqual(200);
      expect(page.startsWith("| size | fits |\n|---|---|\n| ")).toBe(true);
    }
    expect(pages.flatMap((page) => page.split("\n").slice(2))).toEqual(rows);
  });

  test("Chinese without spaces is cut after a sentence, else between characters, never before a comma", () => {
    const sentences = "量化把权重变小，显存就够用了。".repeat(40);
    for (const page of splitMarkdown(sentences, 200)) {
      expect(page.length).toBeLessThanOrEqual(200);
      expect(page.endsWith("。")).toBe(true);
    }
    const commas = "显存不够，".repeat(100);
    for (const page of splitMarkdown(commas, 90)) expect(page.startsWith("，")).toBe(false);
  });

  test("a text without any break is cut between whole characters", () => {
    const pages = splitMarkdown("👩‍💻".repeat(60), 83);
    expect(pages.join("")).toBe("👩‍💻".repeat(60));
    for (const page of pages) {
      expect(page.length).toBeLessThanOrEqual(83);
      expect(page).toMatch(/^(👩‍💻)+$/u);
    }
  });

  test("inline code and links are not torn", () => {
    const text = `${words(18)} \`npm install and npm start\` ${words(5)} [the whole guide](https://example.org/guide) ${words(20)}`;
    for (let charsMax = 120; charsMax < 260; charsMax += 7) {
      for (const page of splitMarkdown(text, charsMax)) {
        expect(page.match(/`/g)?.length ?? 0, page).toSatisfy((count: number) => count % 2 === 0);
        if (page.includes("[")) expect(page).toContain("(https://example.org/guide)");
      }
    }
  });

  test("pages before the last stand still while text is appended", () => {
    const text = `${words(50)}\n\n\`\`\`js\n${words(60, "code")}\n\`\`\`\n\n${"量化。".repeat(60)}\n\n${words(80)}`;
    let moved = 0;
    let before: string[] = [];
    for (let length = 1; length <= text.length; length++) {
      const pages = splitMarkdown(text.slice(0, length), 250);
      if (pages.length === before.length) {
        moved += pages.slice(0, -1).filter((page, index) => page !== before[index]).length;
      }
      before = pages;
    }
    expect(moved).toBe(0);
  });
});
