/** Log lines on stderr: one JSON object a line, or plain text for a person at a terminal. */
import type { Logger } from "../core/ports.ts";

export type LogLevel = "debug" | "info" | "warn" | "error";

const order: readonly LogLevel[] = ["debug", "info", "warn", "error"];

export interface LoggerOptions {
  level: LogLevel;
  /** True when a person reads along. */
  plain: boolean;
  write(line: string, level: LogLevel): void;
  now(): number;
}

export function createLogger({ level, plain, write, now }: LoggerOptions): Logger {
  const log =
    (lineLevel: LogLevel) =>
    (message: string, facts: Record<string, unknown> = {}) => {
      if (order.indexOf(lineLevel) < order.indexOf(level)) return;
      const time = new Date(now()).toISOString();
      write(
        plain
          ? `${time.slice(11, 19)} ${lineLevel} ${message}${renderFacts(facts)}\n`
          : `${JSON.stringify({ time, level: lineLevel, message, ...renderErrors(facts) })}\n`,
        lineLevel,
      );
    };
  return { debug: log("debug"), info: log("info"), warn: log("warn"), error: log("error") };
}

function renderFacts(facts: Record<string, unknown>): string {
  const entries = Object.entries(renderErrors(facts)).filter(([, value]) => value !== undefined);
  return entries.map(([key, value]) => ` ${key}=${typeof value === "string" ? value : JSON.stringify(value)}`).join("");
}

/** Errors have no enumerable fields; without this they would log as {}. */
function renderErrors(facts: Record<string, unknown>): Record<string, unknown> {
  const shown: Record<string, unknown> = {};
  for (const key of Object.keys(facts)) {
    const value = facts[key];
    shown[key] = value instanceof Error ? (value.stack ?? value.message) : value;
  }
  return shown;
}
