/** `snug fits`: the planner in the terminal, and its batch door for programs. */
import { createInterface } from "node:readline";
import { readGgufFile } from "../cli/gguf-file.ts";
import type { FitsOptions } from "../cli/program.ts";
import type { Terminal } from "../cli/terminal.ts";
import { AppError } from "../core/errors.ts";
import { answerFitsLine, type DoorDependencies } from "../fit/door.ts";
import { openRemoteGguf } from "../fit/gguf-hub.ts";
import type { LoadedGguf } from "../fit/gguf-load.ts";
import { quantizationOfName } from "../fit/quantization-names.ts";

/** On the user's own machine every file and address is the user's to read. */
const dependencies: DoorDependencies = {
  loadGguf: (location) => (/^(hf:|https?:)/.test(location) ? loadRemote(location) : loadFile(location)),
};

export async function fits(query: string, options: FitsOptions, terminal: Terminal): Promise<number> {
  if (options.batch) return answerLines(terminal);
  throw new AppError("invalid_request", `No answer for ${query} yet.`);
}

/** JSON lines in, JSON lines out, in order; a reader that is slow slows the reading down. */
async function answerLines(terminal: Terminal): Promise<number> {
  for await (const line of createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY })) {
    if (line.trim() !== "") await terminal.writeAll(`${await answerFitsLine(line, dependencies)}\n`);
  }
  return 0;
}

async function loadRemote(location: string): Promise<LoadedGguf> {
  const { HF_TOKEN: token, HF_ENDPOINT: hubUrl } = process.env;
  const { header, hub } = await openRemoteGguf(location, {
    fetch: (url, init) => fetch(url, init),
    ...(token ? { token } : {}),
    ...(hubUrl ? { hubUrl } : {}),
  });
  return {
    header,
    ...(hub?.quantization === undefined ? {} : { quantization: hub.quantization }),
    ...(hub?.projector === undefined ? {} : { projectorBytes: hub.projector.bytes }),
  };
}

async function loadFile(path: string): Promise<LoadedGguf> {
  const quantization = quantizationOfName(path);
  return { header: await readGgufFile(path), ...(quantization === undefined ? {} : { quantization }) };
}
