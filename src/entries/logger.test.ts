import { describe, expect, it } from "vitest";
import { createLogger, type LoggerOptions } from "./logger.ts";

function record(options: Partial<LoggerOptions> = {}) {
  const lines: string[] = [];
  const now = () => Date.UTC(2026, 10, 20, 12, 30, 15);
  return {
    lines,
    log: createLogger({ level: "info", plain: false, write: (line) => lines.push(line), now, ...options }),
  };
}

describe("createLogger", () => {
  it("writes one JSON object a line", () => {
    const { lines, log } = record();
    log.warn("child restarted", { restarts: 2 });
    expect(JSON.parse(lines[0]!)).toEqual({
      time: "2026-11-20T12:30:15.000Z",
      level: "warn",
      message: "child restarted",
      restarts: 2,
    });
  });

  it("keeps an error's stack, which JSON alone would drop", () => {
    const { lines, log } = record();
    log.error("failed", { cause: new Error("boom") });
    expect(JSON.parse(lines[0]!).cause).toContain("boom");
  });

  it("leaves out what is below its level", () => {
    const { lines, log } = record({ level: "warn" });
    log.info("quiet");
    expect(lines).toEqual([]);
  });

  it("is readable for a person", () => {
    const { lines, log } = record({ plain: true });
    log.info("listening", { port: 8787, host: "127.0.0.1" });
    expect(lines[0]).toBe("12:30:15 info listening port=8787 host=127.0.0.1\n");
  });
});
