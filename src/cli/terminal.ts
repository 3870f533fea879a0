/** What commands print through: answers on stdout, everything else on stderr, colour only where it is wanted. */
import { styleText } from "node:util";
import stringWidth from "string-width";
import type { Locale } from "../core/errors.ts";

export interface Terminal {
  locale: Locale;
  /** The answer itself: stdout, without a line break added. */
  write(text: string): void;
  /** The same, resolving when a slow reader has room again. */
  writeAll(text: string): Promise<void>;
  /** A line of the answer. */
  print(line?: string): void;
  /** A line about the work: stderr. */
  note(line?: string): void;
  /** Columns of the answer's terminal; 80 when it is a pipe. */
  columns: number;
  /** True when the answer goes to a person, not a pipe. */
  interactive: boolean;
  paint(style: Paint, text: string): string;
  /** Whether `paint` does anything. */
  coloured: boolean;
}

export type Paint = "bold" | "dim" | "green" | "yellow" | "red" | "cyan";

export interface TerminalStreams {
  stdout: NodeJS.WriteStream;
  stderr: NodeJS.WriteStream;
  environment: Record<string, string | undefined>;
}

/** Colour follows NO_COLOR, FORCE_COLOR and whether stdout is a terminal. */
export function createTerminal({ stdout, stderr, environment }: TerminalStreams, locale: Locale): Terminal {
  const forced = environment.FORCE_COLOR;
  const coloured = environment.NO_COLOR ? false : forced ? forced !== "0" : stdout.isTTY === true;
  return {
    locale,
    write: (text) => void stdout.write(text),
    writeAll: (text) => new Promise((resolve) => stdout.write(text, () => resolve())),
    print: (line = "") => void stdout.write(`${line}\n`),
    note: (line = "") => void stderr.write(`${line}\n`),
    columns: stdout.columns ?? 80,
    coloured,
    interactive: stdout.isTTY === true,
    paint: (style, text) => (coloured ? styleText(style, text, { validateStream: false }) : text),
  };
}

/** Pads to a width in terminal cells, so that Chinese and emoji line up. */
export function padCells(text: string, cells: number): string {
  return text + " ".repeat(Math.max(0, cells - stringWidth(text)));
}

/** Two columns, the left one dim and padded; continuation lines are indented under the right one. */
export function renderFacts(
  rows: readonly (readonly [label: string, value: string])[],
  paint: Terminal["paint"],
): string {
  const width = Math.max(...rows.map(([label]) => stringWidth(label)));
  return rows
    .map(([label, value]) => {
      const lines = value.split("\n");
      const rest = lines.slice(1).map((line) => `\n  ${" ".repeat(width)}  ${line}`);
      return `  ${paint("dim", padCells(label, width))}  ${lines[0]}${rest.join("")}`;
    })
    .join("\n");
}
