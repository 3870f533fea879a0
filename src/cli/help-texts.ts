/** The words that the command-line library says by itself, in the user's language. */
import type { Command } from "commander";
import type { Locale } from "../core/errors.ts";

const titles: Readonly<Record<string, string>> = {
  "Usage:": "用法：",
  "Arguments:": "参数：",
  "Options:": "选项：",
  "Commands:": "命令：",
};

/** What goes wrong on a command line; names and values stay as typed. */
const complaints: readonly (readonly [pattern: RegExp, text: string])[] = [
  [/^error: unknown option '(.+?)'(?:\n\(Did you mean (.+?)\?\))?/, "错误：没有选项 $1"],
  [/^error: unknown command '(.+?)'(?:\n\(Did you mean (.+?)\?\))?/, "错误：没有命令 $1"],
  [/^error: missing required argument '(.+?)'/, "错误：缺少参数 $1"],
  [/^error: option '(.+?)' argument missing/, "错误：选项 $1 缺少值"],
  [/^error: required option '(.+?)' not specified/, "错误：必须给出选项 $1"],
  [/^error: option '(.+?)' argument '(.+?)' is invalid\. Allowed choices are (.+?)\./, "错误：$1 不能是“$2”，可选：$3"],
  [/^error: option '(.+?)' argument '(.+?)' is invalid\. /, "错误：选项 $1 不能是“$2”。"],
  [
    /^error: command-argument value '(.+?)' is invalid for argument '(.+?)'\. Allowed choices are (.+?)\./,
    "错误：$2 不能是“$1”，可选：$3",
  ],
  [
    /^error: too many arguments(?: for '(.+?)')?\. Expected (\d+) arguments? but got (\d+)\./,
    "错误：参数太多，应有 $2 个，给了 $3 个。",
  ],
];

export function translateComplaint(text: string): string {
  for (const [pattern, chinese] of complaints) {
    const match = pattern.exec(text);
    if (match === null) continue;
    const near = /\(Did you mean (.+?)\?\)/.exec(text)?.[1];
    const rest = text.slice(match[0].length);
    return `${match[0].replace(pattern, chinese)}${near === undefined ? "" : `；是不是 ${near}？`}${rest}`;
  }
  return text;
}

/** Before sub-commands are added: they inherit it. */
export function localizeHelp(program: Command, locale: Locale): void {
  if (locale === "en") return;
  program
    .helpOption("-h, --help", "显示帮助")
    .helpCommand("help [command]", "显示某个命令的帮助")
    .configureHelp({
      styleTitle: (title) => titles[title] ?? title,
      styleOptionDescription: (text) => text.replace(/\(choices: (.+)\)$/s, "（可选：$1）"),
    })
    .configureOutput({ outputError: (text, write) => write(translateComplaint(text)) });
}
