/** `snug doctor`: looks at this machine and says what is missing. */
import { statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { type DoctorFacts, diagnose, renderFindings } from "../cli/doctor.ts";
import type { DoctorOptions } from "../cli/program.ts";
import type { Terminal } from "../cli/terminal.ts";
import { toAppError } from "../core/errors.ts";
import { createHardwareProbe } from "../engine/hardware.ts";
import { llamaChildProgram } from "./package-files.ts";
import { parseSettings } from "./settings.ts";

/** @returns 0, or 1 when something is a problem rather than a warning */
export async function doctor(options: DoctorOptions, terminal: Terminal): Promise<number> {
  const facts = await readFacts();
  const findings = diagnose(facts, terminal.locale);
  if (options.json) terminal.print(JSON.stringify({ findings, hardware: facts.hardware }, null, 2));
  else terminal.print(renderFindings(findings, terminal));
  return findings.some((finding) => finding.verdict === "problem") ? 1 : 0;
}

async function readFacts(): Promise<DoctorFacts> {
  const settings = readSettings();
  const dataDir = settings.dataDir ?? "./data";
  const [hardware, bytesFree, sqliteProblem] = await Promise.all([
    createHardwareProbe({ program: llamaChildProgram }).read(),
    diskBytesFree(dataDir),
    findSqliteProblem(),
  ]);
  return {
    nodeVersion: process.version,
    hardware,
    disk: { path: dataDir, bytesFree },
    sqliteProblem,
    settingsProblem: settings.problem,
  };
}

function readSettings(): { dataDir?: string; problem: string | undefined } {
  try {
    return { dataDir: parseSettings(process.env).dataDir, problem: undefined };
  } catch (thrown) {
    return { problem: toAppError(thrown).message };
  }
}

/** The data folder may not exist yet; then the disk it will be on counts. */
async function diskBytesFree(path: string): Promise<number> {
  try {
    const { bavail, bsize } = await statfs(path);
    return bavail * bsize;
  } catch (error) {
    const parent = dirname(path);
    if (parent === path) throw error;
    return diskBytesFree(parent);
  }
}

async function findSqliteProblem(): Promise<string | undefined> {
  const { checkSqlite } = await import("./sqlite.ts");
  try {
    checkSqlite();
    return undefined;
  } catch (thrown) {
    return toAppError(thrown).message;
  }
}
