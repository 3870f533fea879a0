/** Registers the commands by difference: unchanged ones cost nothing of Discord's 200 creations a day. */
import { type ApplicationCommand, type REST, Routes } from "discord.js";
import type { CommandSpec } from "../commands.ts";
import { type CommandJson, commandsAsJson } from "./command-json.ts";
import { toLoginError } from "./errors.ts";

export interface RegistrationReport {
  created: string[];
  changed: string[];
  removed: string[];
  unchanged: string[];
}

type Registered = Partial<CommandJson> & Pick<CommandJson, "name"> & { id: ApplicationCommand["id"] };

/**
 * @param guildId registers for one server, where changes show at once; undefined registers everywhere
 * @throws AppError when Discord refuses the token or cannot be reached
 */
export async function registerCommands(
  rest: REST,
  applicationId: string,
  commands: readonly CommandSpec[],
  guildId?: string,
): Promise<RegistrationReport> {
  const all =
    guildId === undefined
      ? Routes.applicationCommands(applicationId)
      : Routes.applicationGuildCommands(applicationId, guildId);
  const report: RegistrationReport = { created: [], changed: [], removed: [], unchanged: [] };
  try {
    const query = new URLSearchParams({ with_localizations: "true" });
    const registered = (await rest.get(all, { query })) as Registered[];
    const wanted = commandsAsJson(commands);
    for (const command of wanted) {
      const old = registered.find((one) => one.name === command.name && (one.type ?? 1) === command.type);
      if (old !== undefined && isSame(old, command)) {
        report.unchanged.push(command.name);
        continue;
      }
      // Creating a command that exists replaces it.
      await rest.post(all, { body: command });
      (old === undefined ? report.created : report.changed).push(command.name);
    }
    for (const old of registered) {
      if (wanted.some((command) => command.name === old.name && command.type === (old.type ?? 1))) continue;
      await rest.delete(`${all}/${old.id}`);
      report.removed.push(old.name);
    }
    return report;
  } catch (thrown) {
    throw toLoginError(thrown);
  }
}

/** Discord adds fields of its own and leaves out what has its default value. */
function isSame(registered: Registered, wanted: CommandJson): boolean {
  return canonical(pick(registered, wanted)) === canonical(pick(wanted, wanted));
}

function pick(command: Partial<CommandJson>, wanted: CommandJson): Record<string, unknown> {
  return Object.fromEntries((Object.keys(wanted) as (keyof CommandJson)[]).map((key) => [key, command[key]]));
}

/** Text of a JSON value with sorted keys and without empty and default members. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const members = Object.entries(value)
    .filter(([, member]) => !isDefault(member))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, member]) => `${JSON.stringify(key)}:${canonical(member)}`);
  return `{${members.join(",")}}`;
}

function isDefault(member: unknown): boolean {
  return member === undefined || member === null || member === false || (Array.isArray(member) && member.length === 0);
}
