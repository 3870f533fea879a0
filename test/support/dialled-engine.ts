/** A scripted engine that dials an API over a real socket, in this process. */
import { randomUUID } from "node:crypto";
import type { ChatEngine } from "../../src/core/ports.ts";
import { dialWebSocket } from "../../src/entries/link-socket.ts";
import { systemTimer } from "../../src/entries/timer.ts";
import { dialLink, type LinkDial, type LinkDialOptions } from "../../src/http/link-dial.ts";

const logger = { debug() {}, info() {}, warn() {}, error() {} };

export async function dialEngine(
  engine: ChatEngine,
  options: Pick<LinkDialOptions, "url" | "token" | "name"> & Partial<LinkDialOptions>,
): Promise<LinkDial> {
  const dial = dialLink({
    engine,
    instance: randomUUID(),
    software: "test",
    dial: dialWebSocket,
    timer: systemTimer,
    logger,
    random: Math.random,
    ...options,
  });
  await dial.linked;
  return dial;
}
