/**
 * The commands, as data. Platforms render them for their own registry; names and descriptions come from the locale
 * texts, so that a command without a translation does not compile.
 */
import { comparePromptCharsMax, fitQueryCharsMax, personaCharsMax, questionCharsMax } from "../core/limits.ts";
import type { ChatCommandStyle } from "../core/ports.ts";
import { TEXTS } from "./locale/locale.ts";
import type { BotLocale, CommandTextKey, OptionTexts } from "./locale/texts.ts";

export type CommandName = CommandTextKey;

/** Who may use a command; checked again when it runs, since platforms only hide it. */
export type CommandPermission = "everybody" | "managers" | "admins";

export interface OptionSpec {
  /** Key of its texts; the English name is what platforms send back. */
  key: string;
  kind: "text" | "flag" | "file" | "choice";
  required?: boolean;
  charsMax?: number;
  /** Suggestions while typing; what is typed is taken as well. */
  suggests?: "models" | "fits";
  choices?: readonly Period[];
}

export interface CommandSpec {
  key: CommandName;
  permission: CommandPermission;
  /** Who sees the reply: "choice" follows the option `private`. */
  audience: "everybody" | "caller" | "choice";
  options: readonly OptionSpec[];
  /** Makes sense only in a place that keeps settings, not in somebody's foreign server. */
  channelSetting?: boolean;
  /** Registered only when the program can do it. */
  needs?: Capability;
}

export const PERIODS = ["day", "week", "month"] as const;
export type Period = (typeof PERIODS)[number];
export const PERIOD_MS: Record<Period, number> = { day: 86_400_000, week: 7 * 86_400_000, month: 30 * 86_400_000 };

export type Capability = "compare";

const prompt: OptionSpec = { key: "prompt", kind: "text", required: true, charsMax: questionCharsMax };
const period: OptionSpec = { key: "period", kind: "choice", choices: PERIODS };

export const COMMANDS: readonly CommandSpec[] = [
  {
    key: "ask",
    permission: "everybody",
    audience: "choice",
    options: [
      prompt,
      { key: "model", kind: "text", charsMax: 100, suggests: "models" },
      { key: "private", kind: "flag" },
      { key: "file", kind: "file" },
    ],
  },
  {
    key: "fits",
    permission: "everybody",
    audience: "everybody",
    options: [{ key: "query", kind: "text", required: true, charsMax: fitQueryCharsMax, suggests: "fits" }],
  },
  {
    key: "compare",
    permission: "admins",
    audience: "everybody",
    options: [
      { key: "model", kind: "text", charsMax: 100, suggests: "models" },
      { key: "quantizations", kind: "text", charsMax: 100 },
      { key: "prompt", kind: "text", charsMax: comparePromptCharsMax },
      { key: "force", kind: "flag" },
    ],
    needs: "compare",
  },
  { key: "models", permission: "everybody", audience: "caller", options: [] },
  {
    key: "model",
    permission: "managers",
    audience: "caller",
    options: [{ key: "name", kind: "text", charsMax: 100, suggests: "models" }],
    channelSetting: true,
  },
  {
    key: "persona",
    permission: "managers",
    audience: "caller",
    options: [
      { key: "text", kind: "text", charsMax: personaCharsMax },
      { key: "remove", kind: "flag" },
    ],
    channelSetting: true,
  },
  { key: "stats", permission: "admins", audience: "caller", options: [period] },
  { key: "usage", permission: "everybody", audience: "caller", options: [period] },
  { key: "forget", permission: "everybody", audience: "caller", options: [] },
  { key: "help", permission: "everybody", audience: "caller", options: [] },
];

/** The commands to register for a program with these capabilities. */
export function availableCommands(capabilities: readonly Capability[]): CommandSpec[] {
  return COMMANDS.filter((command) => command.needs === undefined || capabilities.includes(command.needs));
}

/** @param name the English name, which platforms send whatever the caller saw */
export function findCommand(name: string): CommandSpec | undefined {
  return COMMANDS.find((command) => TEXTS.en.commands[command.key].name === name);
}

export function commandTexts(command: CommandSpec, locale: BotLocale): OptionTexts {
  return TEXTS[locale].commands[command.key];
}

/** One of our sentences, which call commands by their English names, with the names that the platform shows its users. */
export function asCalled(sentence: string, locale: BotLocale, { localized }: ChatCommandStyle): string {
  if (!localized) return sentence;
  return sentence.replace(/(?<![\w./])\/([a-z]+)(?![\w/-])/g, (whole, name: string) => {
    const command = findCommand(name);
    return command === undefined ? whole : `/${commandTexts(command, locale).name}`;
  });
}

export function optionTexts(command: CommandSpec, option: OptionSpec, locale: BotLocale): OptionTexts {
  const texts = TEXTS[locale].commands[command.key].options?.[option.key];
  if (texts === undefined) throw new Error(`The option ${option.key} of ${command.key} has no ${locale} texts`);
  return texts;
}

export function isPeriod(value: string | undefined): value is Period {
  return PERIODS.some((known) => known === value);
}
