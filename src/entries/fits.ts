/** `snug fits`: the planner in the terminal, and its batch door for programs. */
import { readFile, stat, writeFile } from "node:fs/promises";
import { loadGguf } from "../cli/gguf-file.ts";
import { readLines } from "../cli/lines.ts";
import type { FitsOptions } from "../cli/program.ts";
import type { Terminal } from "../cli/terminal.ts";
import { AppError, type Locale } from "../core/errors.ts";
import { fitBodyBytesMax } from "../core/limits.ts";
import { MachineLearning } from "../engine/learning.ts";
import { answerQuery, type FitsAnswer } from "../fit/answer.ts";
import { renderPicture } from "../fit/answer-picture.ts";
import { answerFitsLine, type DoorDependencies, readQueryModel } from "../fit/door.ts";
import type { KnownMachine } from "../fit/learned.ts";
import { measuredRuns, parseMeasuredRows } from "../fit/measured.ts";
import { type FitsQuery, parseQuery } from "../fit/query.ts";
import { renderTerminal } from "../fit/render-terminal.ts";
import type { MeasuredRun } from "../fit/speed.ts";

/** A list written by hand is some kilobytes. */
const measuredBytesMax = 1024 * 1024;

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

/** What this machine learned while it served; `snug fits` starts nothing and asks no driver for it. */
async function readMachine(dataDir: string): Promise<KnownMachine | undefined> {
  const silent = () => {};
  const logger = { debug: silent, info: silent, warn: silent, error: silent };
  return (await MachineLearning.open(dataDir, logger)).latestMachine();
}

export async function fits(text: string, options: FitsOptions, terminal: Terminal): Promise<number> {
  const machine = await readMachine(process.env.SNUG_DATA_DIR || "./data");
  const dependencies: DoorDependencies = { ...createDependencies(), machine: () => machine };
  if (options.batch) return answerLines(text, options, dependencies, terminal);
  // Who asks in Chinese is answered in Chinese, whatever the terminal's language.
  const locale = options.lang ?? (/\p{Script=Han}/u.test(text) ? "zh" : terminal.locale);
  const query = readQuestion(text, locale);
  const measured = options.measured === undefined ? undefined : await readRuns(options.measured, query, dependencies);
  const model = await readQueryModel(query, dependencies);
  const answer = answerQuery(query, {
    ...(model !== undefined && { model }),
    ...(measured !== undefined && { measured }),
    ...(machine !== undefined && { machine }),
  });
  await writePictures(answer, options, locale);
  if (options.json) terminal.print(JSON.stringify(answer, null, 2));
  else {
    const { columns, coloured: colour } = terminal;
    terminal.print(renderTerminal(answer, { locale, columns, colour, allSettings: options.launch === true }));
  }
  return 0;
}

/** A question that cannot be read is refused in the language of its answer. */
function readQuestion(text: string, locale: Locale): FitsQuery {
  try {
    return parseQuery(text);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    const sentence = (error.details?.sentences as Partial<Record<Locale, string>> | undefined)?.[locale];
    if (sentence === undefined) throw error;
    const { code, details, param } = error;
    throw new AppError(code, sentence, {
      cause: error,
      ...(details !== undefined && { details }),
      ...(param !== undefined && { param }),
    });
  }
}

async function writePictures(answer: FitsAnswer, { svg, png }: FitsOptions, locale: Locale): Promise<void> {
  if (svg !== undefined) await writePicture(svg, pictureOrThrow(renderPicture(answer, locale)));
  if (png === undefined) return;
  const { pngLocale, renderPng } = await import("./png.ts");
  await writePicture(png, renderPng(pictureOrThrow(renderPicture(answer, pngLocale(locale), "light"))));
}

function pictureOrThrow(picture: string | undefined): string {
  if (picture !== undefined) return picture;
  throw new AppError("invalid_request", "That answer has no picture; ask about a model on a machine, such as 13b 6gb.");
}

async function writePicture(path: string, content: string | Uint8Array): Promise<void> {
  try {
    await writeFile(path, content);
  } catch (cause) {
    throw new AppError("permission_denied", `${path} could not be written. Check its folder and permissions.`, {
      cause,
    });
  }
}

async function readRuns(path: string, query: FitsQuery, dependencies: DoorDependencies): Promise<MeasuredRun[]> {
  if (query.hardware === undefined) {
    throw new AppError("invalid_request", "Measured speeds need a machine in the question, such as: qwen3-8b 3060.", {
      param: "measured",
    });
  }
  return await measuredRuns(parseMeasuredRows(await readMeasured(path)), query.hardware, dependencies);
}

async function readMeasured(path: string): Promise<string> {
  let size: number;
  try {
    size = (await stat(path)).size;
    if (size <= measuredBytesMax) return await readFile(path, "utf8");
  } catch (cause) {
    throw new AppError("invalid_request", `${path} could not be read. Give a JSON file of measured speeds.`, { cause });
  }
  throw new AppError("payload_too_large", `${path} has ${size} bytes; the limit is ${measuredBytesMax}.`);
}

/** JSON lines in, JSON lines out, in order; a reader that is slow slows the reading down. */
async function answerLines(
  text: string,
  options: FitsOptions,
  dependencies: DoorDependencies,
  terminal: Terminal,
): Promise<number> {
  const { svg, png, measured } = options;
  if (text !== "" || svg !== undefined || png !== undefined || measured !== undefined) {
    throw new AppError("invalid_request", "--batch takes its questions from stdin, and no pictures or measured runs.");
  }
  for await (const line of readLines(process.stdin, fitBodyBytesMax)) {
    if (line.trim() !== "") await terminal.writeAll(`${await answerFitsLine(line, dependencies)}\n`);
  }
  return 0;
}
