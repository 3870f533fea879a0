/** `snug fits`: the planner in the terminal, and its batch door for programs. */
import { writeFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { loadGguf } from "../cli/gguf-file.ts";
import type { FitsOptions } from "../cli/program.ts";
import type { Terminal } from "../cli/terminal.ts";
import { AppError } from "../core/errors.ts";
import { answerQuery } from "../fit/answer.ts";
import { renderPicture } from "../fit/answer-picture.ts";
import { answerFitsLine, type DoorDependencies } from "../fit/door.ts";
import { specFromGguf } from "../fit/model.ts";
import { type FitsQuery, parseQuery } from "../fit/query.ts";
import { renderTerminal } from "../fit/render-terminal.ts";
import type { ModelSpec } from "../fit/types.ts";

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

export async function fits(text: string, options: FitsOptions, terminal: Terminal): Promise<number> {
  if (options.batch) return answerLines(terminal);
  const locale = options.lang ?? terminal.locale;
  const query = parseQuery(text);
  const model = await readModel(query);
  const answer = answerQuery(query, model === undefined ? {} : { model });
  if (options.svg !== undefined) await writeFile(options.svg, pictureOrThrow(renderPicture(answer, locale)));
  if (options.png !== undefined) {
    const { pngLocale, renderPng } = await import("./png.ts");
    await writeFile(options.png, renderPng(pictureOrThrow(renderPicture(answer, pngLocale(locale), "light"))));
  }
  if (options.json) terminal.print(JSON.stringify(answer, null, 2));
  else {
    const { columns, coloured: colour } = terminal;
    terminal.print(renderTerminal(answer, { locale, columns, colour, allSettings: options.launch === true }));
  }
  return 0;
}

function pictureOrThrow(picture: string | undefined): string {
  if (picture !== undefined) return picture;
  throw new AppError("invalid_request", "That answer has no picture; ask about a model on a machine, such as 13b 6gb.");
}

/** The header of a file or repository the question names. */
async function readModel(query: FitsQuery): Promise<ModelSpec | undefined> {
  if (query.model?.kind !== "gguf") return undefined;
  const { header, name, quantization, projectorBytes } = await createDependencies().loadGguf(query.model.location);
  const spec = specFromGguf(header, name === undefined ? {} : { name });
  return {
    ...spec,
    ...(quantization === undefined ? {} : { quantization }),
    ...(projectorBytes === undefined ? {} : { projectorBytes }),
  };
}

/** JSON lines in, JSON lines out, in order; a reader that is slow slows the reading down. */
async function answerLines(terminal: Terminal): Promise<number> {
  const dependencies = createDependencies();
  for await (const line of createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY })) {
    if (line.trim() !== "") await terminal.writeAll(`${await answerFitsLine(line, dependencies)}\n`);
  }
  return 0;
}
