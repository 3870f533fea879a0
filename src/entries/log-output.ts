/** Log lines on stderr, those of one turn of the event loop in one write: a write for each costs more than its request. */
import type { LogLevel } from "./logger.ts";

export interface LogOutput {
  write(line: string, level: LogLevel): void;
}

/** @param send writes text now, and returns once it is written */
export function createLogOutput(send: (text: string) => void): LogOutput {
  let waiting = "";
  const flush = () => {
    const text = waiting;
    waiting = "";
    if (text !== "") send(text);
  };
  process.once("exit", flush);
  return {
    write(line, level) {
      if (waiting === "") setImmediate(flush);
      waiting += line;
      // Whoever looks for the reason of a crash must find it.
      if (level === "error") flush();
    },
  };
}
