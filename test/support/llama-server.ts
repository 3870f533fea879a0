/** The llama-server that tests and benches use, where this machine has one. */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { findLlamaServer } from "../../src/engine/backend.ts";
import type { ChildProgram } from "../../src/engine/supervisor.ts";
import { programOf } from "./local-engine.ts";

/** SNUG_LLAMA_SERVER, the one scripts/build-llama-server.mjs has built, or the first on PATH; undefined without any. */
export async function findTestServer(): Promise<string | undefined> {
  const { SNUG_LLAMA_SERVER: configured } = process.env;
  return configured === undefined || configured === ""
    ? (builtServer() ?? (await findLlamaServer(undefined)))
    : configured;
}

export const noServerReason =
  "skipped: no llama-server here; build one with `node scripts/build-llama-server.mjs`, or set SNUG_LLAMA_SERVER";

function builtServer(): string | undefined {
  const script = fileURLToPath(new URL("../../scripts/build-llama-server.mjs", import.meta.url));
  try {
    return execFileSync(process.execPath, [script, "--where"], { stdio: ["ignore", "pipe", "ignore"] })
      .toString()
      .trim();
  } catch {
    return undefined;
  }
}

/** @param path of a llama-server */
export function serverProgram(path: string): ChildProgram {
  return { ...programOf("llama-server-child"), args: [path] };
}
