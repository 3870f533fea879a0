/** `snug fits`: the planner in the terminal, and its batch door for programs. */
import { createInterface } from "node:readline";
import { loadGguf } from "../cli/gguf-file.ts";
import type { FitsOptions } from "../cli/program.ts";
import type { Terminal } from "../cli/terminal.ts";
import { AppError } from "../core/errors.ts";
import { answerFitsLine, type DoorDependencies } from "../fit/door.ts";

/** On the user's own machine every file and address is the user's to read. */
function createDependencies(): DoorDependencies {
  const { HF_TOKEN: token, HF_ENDPOINT: hubUrl } = process.env;
  const options = {
    fetch: (url: string, init: RequestInit) => fetch(url, init),
    ...(token ? { token } : {}),
    ...(hubUrl ? { hubUrl } : {}),
  };
  return { loadGguf: (location) => loadGguf(location, options) };
}

export async function fits(query: string, options: FitsOptions, terminal: Terminal): Promise<number> {
  if (options.batch) return answerLines(terminal);
  throw new AppError("invalid_request", `No answer for ${query} yet.`);
}

/** JSON lines in, JSON lines out, in order; a reader that is slow slows the reading down. */
async function answerLines(terminal: Terminal): Promise<number> {
  const dependencies = createDependencies();
  for await (const line of createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY })) {
    if (line.trim() !== "") await terminal.writeAll(`${await answerFitsLine(line, dependencies)}\n`);
  }
  return 0;
}
