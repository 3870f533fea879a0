import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import type { Command } from "commander";
import { expect, it } from "vitest";
import { type CliActions, createProgram } from "../../src/cli/program.ts";

/** Pages of the repository: its root's, and all in these folders. */
const folders = ["docs", "bench/data", "examples", "models/demo", "tools"];
const pages = [
  ...readdirSync("."),
  ...folders.flatMap((folder) =>
    readdirSync(folder, { recursive: true, encoding: "utf8" }).map((path) => join(folder, path)),
  ),
].filter((path) => path.endsWith(".md") && !path.includes("node_modules"));

interface Found {
  page: string;
  command: string;
  /** Named in a sentence, where arguments may be left out. */
  inline: boolean;
}

/** Every `snug …` of code blocks and inline code, without what a shell takes for itself. */
function commandsOf(page: string): Found[] {
  const text = readFileSync(page, "utf8");
  const blocks = [...text.matchAll(/^ *```(?:sh|bash|console)\n([\s\S]*?)^ *```/gm)].map((match) => match[1]!);
  const lines = blocks.flatMap((block) => block.replace(/\\\n\s*/g, " ").split("\n"));
  const named = [...text.matchAll(/`((?:npx )?snug [^`\n]+)`/g)].map((match) => match[1]!);
  return [...lines, ...named].flatMap((line, index) => {
    const command = /(?:^|&& |\s)(?:npx )?snug ([a-z].*)$/.exec(line.replace(/\s+#.*$/, ""))?.[1];
    return command === undefined || /^\s*git /.test(line) ? [] : [{ page, command, inline: index >= lines.length }];
  });
}

/** Words as a shell cuts them; what follows a redirection is the shell's. */
function wordsOf(command: string): string[] {
  const plain = command.replace(/\s+[|>].*$/, "");
  return [...plain.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map((match) => match[1] ?? match[2] ?? match[3]!);
}

/** Throws what the command line would print. */
function parse(words: readonly string[]): void {
  const nothing = async (): Promise<number> => 0;
  const actions = new Proxy({}, { get: () => nothing }) as CliActions;
  const program = createProgram(actions, "0.0.0", "en", () => {});
  const strict = (command: Command): void => {
    command.exitOverride().configureOutput({ writeErr: () => {}, writeOut: () => {} });
    for (const child of command.commands) strict(child);
  };
  strict(program);
  program.parse([...words], { from: "user" });
}

const commands = pages.flatMap(commandsOf);

it("finds the commands there are", () => {
  expect(commands.length).toBeGreaterThan(35);
});

it.each(commands)("$page: snug $command is a command line that snug takes", ({ command, inline }) => {
  const words = wordsOf(command);
  // "the `snug bots` command": a group named without its member.
  if (words.length === 1 && ["bots", "keys"].includes(words[0]!)) return;
  try {
    parse(words);
  } catch (error) {
    if (!inline || !/argument missing|missing required argument/.test(`${error}`)) throw error;
  }
});

it("an option nobody has does not pass", () => {
  expect(() => parse(["fits", "13b", "6gb", "--colour"])).toThrow(/unknown option/);
  expect(() => parse(["fit", "13b"])).toThrow(/unknown command/);
});

it("npm scripts that pages name are in package.json", () => {
  const { scripts } = JSON.parse(readFileSync("package.json", "utf8")) as { scripts: Record<string, string> };
  for (const page of pages) {
    for (const [, name] of readFileSync(page, "utf8").matchAll(/npm run ([a-z][\w:-]*)/g)) {
      expect(Object.keys(scripts), page).toContain(name);
    }
  }
});

it("links and paths in pages lead somewhere", () => {
  for (const page of pages) {
    const text = readFileSync(page, "utf8");
    const prose = text.replace(/```[\s\S]*?```/g, "");
    for (const [, target] of prose.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target!)) continue;
      const path = target!.split("#")[0]!;
      if (path !== "") expect(existsSync(normalize(join(dirname(page), path))), `${page}: ${target}`).toBe(true);
    }
    for (const [, path] of text.matchAll(/`((?:src|test|bench|docs|scripts|tools|examples)\/[\w./-]+\.\w+)`/g)) {
      expect(existsSync(path!), `${page}: ${path}`).toBe(true);
    }
  }
});
