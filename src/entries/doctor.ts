/** `snug doctor`: looks at this machine and says what is missing; shows and resets what it has learned. */
import { renderFindings } from "../cli/doctor.ts";
import { renderProfile } from "../cli/profile.ts";
import type { DoctorOptions } from "../cli/program.ts";
import type { Terminal } from "../cli/terminal.ts";
import { diagnose, verdictOf } from "../core/doctor/diagnose.ts";
import type { DoctorFacts, SettingFacts } from "../core/doctor/facts.ts";
import { toAppError } from "../core/errors.ts";
import { createHardwareProbe } from "../engine/hardware.ts";
import { MachineLearning, resetLearning } from "../engine/learning.ts";
import { describeLearning } from "../engine/learning-profile.ts";
import { readMachineFacts } from "../engine/machine-facts.ts";
import { checkPort, checkTokens, placesOf, reach, slackPort } from "./doctor-checks.ts";
import { createLogger } from "./logger.ts";
import { llamaChildProgram } from "./package-files.ts";
import { parseSettings, type Settings } from "./settings.ts";

/** @returns 0, or 1 when something is a problem rather than a warning */
export async function doctor(options: DoctorOptions, terminal: Terminal): Promise<number> {
  const { settings, problem } = readSettings();
  if (options.resetProfile) return await resetProfile(settings.dataDir, options, terminal);
  if (options.profile) return await showProfile(settings.dataDir, options, terminal);
  const facts = await readFacts(settings, problem);
  const findings = diagnose(facts, terminal.locale);
  const verdict = verdictOf(findings);
  if (options.json) {
    terminal.print(JSON.stringify({ verdict, findings, hardware: facts.hardware, gpus: facts.gpus }, null, 2));
  } else terminal.print(renderFindings(findings, terminal));
  return verdict === "problem" ? 1 : 0;
}

type DoctorSettings = Pick<Settings, "dataDir" | "host" | "port" | "backend">;

async function readFacts(settings: DoctorSettings, settingsProblem: string | undefined): Promise<DoctorFacts> {
  const { dataDir, host, port, backend } = settings;
  const hardware = await createHardwareProbe({ program: llamaChildProgram }).read();
  const [machine, reached, sqliteProblem] = await Promise.all([
    readMachineFacts({ hardware, dataDir, backend }),
    reach(placesOf(process.env, { host, port })),
    findSqliteProblem(),
  ]);
  const isOurs = reached.places.some(({ place, reached: answers }) => place === "api" && answers);
  const ports = port === 0 ? [] : [await checkPort({ setting: "PORT", host, port }, isOurs)];
  const slack = slackPort(process.env);
  // Snug's own server runs the bot too, so a port that is taken while it runs is the bot's.
  if (slack !== undefined) ports.push(await checkPort({ setting: "SLACK_PORT", ...slack }, isOurs));
  const own: SettingFacts = { sqliteProblem, settingsProblem, ports, tokens: checkTokens(process.env), ...reached };
  return { ...machine, ...own };
}

/** What can be read when some setting is wrong: the rest is still worth a look. */
function readSettings(): { settings: DoctorSettings; problem: string | undefined } {
  try {
    return { settings: parseSettings(process.env), problem: undefined };
  } catch (thrown) {
    return { settings: parseSettings({}), problem: toAppError(thrown).message };
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

async function showProfile(dataDir: string, { json }: DoctorOptions, terminal: Terminal): Promise<number> {
  const logger = createLogger({
    level: "warn",
    plain: true,
    write: (line) => terminal.note(line.trimEnd()),
    now: Date.now,
  });
  const profile = describeLearning(await MachineLearning.open(dataDir, logger));
  terminal.print(json ? JSON.stringify({ profile }, null, 2) : renderProfile(profile, terminal));
  return 0;
}

async function resetProfile(dataDir: string, { json }: DoctorOptions, terminal: Terminal): Promise<number> {
  const removed = await resetLearning(dataDir);
  if (json) terminal.print(JSON.stringify({ removed }, null, 2));
  else if (terminal.locale === "zh") terminal.print(removed.length === 0 ? "没有学到过任何数据。" : "已忘记所学数据。");
  else terminal.print(removed.length === 0 ? "Nothing had been learned." : "What was learned is forgotten.");
  return 0;
}
