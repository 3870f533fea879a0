import type { Command } from "commander";
import { describe, expect, it } from "vitest";
import { translateComplaint } from "./help-texts.ts";
import { type CliActions, createProgram } from "./program.ts";

const actions = new Proxy({}, { get: () => async () => 0 }) as CliActions;

/** Every command of the tree, with the words that lead to it. */
function commandsOf(command: Command, path: readonly string[] = []): [string, Command][] {
  return [
    [path.join(" "), command],
    ...command.commands.flatMap((child) => commandsOf(child, [...path, child.name()])),
  ];
}

const chinese = commandsOf(createProgram(actions, "1.2.3", "zh", () => {}));
const english = commandsOf(createProgram(actions, "1.2.3", "en", () => {}));

describe("help", () => {
  it("there are as many commands in each language", () => {
    expect(chinese.map(([path]) => path)).toEqual(english.map(([path]) => path));
    expect(chinese.length).toBeGreaterThan(20);
  });

  it.each(chinese)("snug %s --help is Chinese, the library's own words too", (_, command) => {
    const text = command.helpInformation();
    expect(text).toContain("用法：");
    expect(text).not.toMatch(/display help|output the version|Options:|Usage:|Commands:|Arguments:|choices:/);
    for (const line of text.split("\n").filter((one) => /^ {2}\S/.test(one)))
      expect(line).not.toMatch(/(?:\b[a-z]{2,}\b ){4,}/);
  });

  it.each(english)("snug %s --help is English", (_, command) => {
    expect(command.helpInformation()).not.toMatch(/[\u4e00-\u9fff]/);
  });
});

/** What the command line says of wrong words, in Chinese. */
function complaint(words: readonly string[]): string {
  let said = "";
  const program = createProgram(actions, "1.2.3", "zh", () => {});
  for (const [, command] of commandsOf(program)) {
    command.exitOverride().showHelpAfterError(false);
    command.configureOutput({ writeErr: (text) => (said += text) });
  }
  expect(() => program.parse([...words], { from: "user" })).toThrow();
  return said.trim();
}

describe("complaints", () => {
  it.each([
    [["fits", "--foo"], "错误：没有选项 --foo"],
    [["fit", "13b"], "错误：没有命令 fit；是不是 fits？"],
    [["chat"], "错误：缺少参数 prompt"],
    [["engine", "--connect"], "错误：选项 --connect <address...> 缺少值"],
    [["keys", "create"], "错误：必须给出选项 -n, --name <name>"],
    [["fits", "13b", "--lang", "fr"], "错误：--lang <language> 不能是“fr”，可选：en, zh"],
    [["start", "--port", "x"], "错误：选项 -p, --port <port> 不能是“x”。请输入整数"],
  ])("%j: %s", (words, text) => {
    expect(complaint(words)).toBe(text);
  });

  it("what nobody foresaw stays as it is", () => {
    expect(translateComplaint("error: something new")).toBe("error: something new");
  });
});
