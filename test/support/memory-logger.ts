import type { Logger } from "../../src/core/ports.ts";

export interface LoggedLine {
  level: "debug" | "info" | "warn" | "error";
  message: string;
  facts: Record<string, unknown>;
}

/** Keeps every line for tests to look at. */
export class MemoryLogger implements Logger {
  readonly lines: LoggedLine[] = [];

  debug(message: string, facts: Record<string, unknown> = {}): void {
    this.lines.push({ level: "debug", message, facts });
  }
  info(message: string, facts: Record<string, unknown> = {}): void {
    this.lines.push({ level: "info", message, facts });
  }
  warn(message: string, facts: Record<string, unknown> = {}): void {
    this.lines.push({ level: "warn", message, facts });
  }
  error(message: string, facts: Record<string, unknown> = {}): void {
    this.lines.push({ level: "error", message, facts });
  }
}
