/** Log lines on stderr, those of a moment in one write: a write waits for whoever reads it, and requests wait with it. */
import type { LogLevel } from "./logger.ts";

export interface LogOutput {
  write(line: string, level: LogLevel): void;
}

/** Short enough for somebody who reads along. */
const momentMs = 25;

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
      // The end of the process does not wait for it, and writes what is left.
      if (waiting === "") setTimeout(flush, momentMs).unref();
      waiting += line;
      // Whoever looks for the reason of a crash must find it.
      if (level === "error") flush();
    },
  };
}
