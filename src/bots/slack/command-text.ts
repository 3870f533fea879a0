/** What stands behind a slash command, as options: Slack gives one line of text for all of them. */
import { type CommandSpec, findCommand, type OptionSpec, optionTexts, PERIODS } from "../commands.ts";
import { BOT_LOCALES, TEXTS } from "../locale/locale.ts";

export type ParsedOptions = Record<string, string | boolean | undefined>;

/** A workspace may have the plain names in use already; "/snug-ask" is then the same as "/ask". */
const namePrefix = "snug-";

/** @param name as Slack sends it, with the slash */
export function findSlashCommand(name: string): CommandSpec | undefined {
  const plain = name.replace(/^\//, "");
  return findCommand(plain) ?? (plain.startsWith(namePrefix) ? findCommand(plain.slice(namePrefix.length)) : undefined);
}

/** Two hyphens, or the dash that writing programs make of them. */
const flag = /^(?:--|—|–)([\p{L}\p{N}_-]+)(?:[=\s]+|$)/u;

/**
 * Flags come first: `--model name`, `--private`. What is left is the command's first option of text or choice. Names in
 * every language of the bots are understood; an unknown flag is part of the text.
 */
export function parseCommandText(command: CommandSpec, text: string): ParsedOptions {
  const options: ParsedOptions = {};
  let rest = text.trim();
  for (let match = flag.exec(rest); match !== null; match = flag.exec(rest)) {
    const option = findOption(command, match[1]!);
    if (option === undefined) break;
    rest = rest.slice(match[0].length).trimStart();
    if (option.kind === "flag") {
      options[option.key] = true;
      continue;
    }
    const [value = ""] = /^\S+/.exec(rest) ?? [];
    options[option.key] = optionValue(option, value);
    rest = rest.slice(value.length).trimStart();
  }
  const main = command.options.find((option) => option.kind === "text" || option.kind === "choice");
  if (main !== undefined && rest !== "" && options[main.key] === undefined) options[main.key] = optionValue(main, rest);
  return options;
}

function findOption(command: CommandSpec, name: string): OptionSpec | undefined {
  const wanted = name.toLowerCase();
  return command.options.find(
    (option) =>
      option.kind !== "file" && BOT_LOCALES.some((locale) => optionTexts(command, option, locale).name === wanted),
  );
}

/** A period may be written as its name is shown. */
function optionValue(option: OptionSpec, value: string): string {
  if (option.kind !== "choice") return value;
  const wanted = value.trim().toLowerCase();
  const shown = PERIODS.find((period) => BOT_LOCALES.some((locale) => TEXTS[locale].periods[period] === wanted));
  return shown ?? wanted;
}
