/** The commands as Discord registers them, and which registrations are out of date. */
import {
  ApplicationCommandOptionType,
  ApplicationCommandType,
  ApplicationIntegrationType,
  InteractionContextType,
  type LocalizationMap,
  PermissionFlagsBits,
} from "discord.js";
import type { CommandSpec, OptionSpec } from "../commands.ts";
import { commandTexts, optionTexts } from "../commands.ts";
import { TEXTS } from "../locale/locale.ts";
import type { BotLocale, OptionTexts } from "../locale/texts.ts";

/** A registration body, as far as this bot uses it. */
export interface CommandJson {
  type: ApplicationCommandType;
  name: string;
  name_localizations: LocalizationMap;
  description?: string;
  description_localizations?: LocalizationMap;
  options?: OptionJson[];
  default_member_permissions: string | null;
  contexts: InteractionContextType[];
  integration_types: ApplicationIntegrationType[];
}

export interface OptionJson {
  type: ApplicationCommandOptionType;
  name: string;
  name_localizations: LocalizationMap;
  description: string;
  description_localizations: LocalizationMap;
  required?: boolean;
  autocomplete?: boolean;
  max_length?: number;
  choices?: { name: string; name_localizations: LocalizationMap; value: string }[];
}

export const askAboutName = TEXTS.en.askAbout.name;

export function commandsAsJson(commands: readonly CommandSpec[]): CommandJson[] {
  return [...commands.map(commandAsJson), askAboutAsJson()];
}

function commandAsJson(command: CommandSpec): CommandJson {
  const { name, description } = commandTexts(command, "en");
  return {
    type: ApplicationCommandType.ChatInput,
    name,
    name_localizations: localized((locale) => commandTexts(command, locale).name),
    description,
    description_localizations: localized((locale) => commandTexts(command, locale).description),
    options: command.options.map((option) => optionAsJson(command, option)),
    default_member_permissions: permissionsOf(command),
    ...scopeOf(command.channelSetting === true),
  };
}

/** Only hides the command; every use is checked again. "0" leaves administrators. */
function permissionsOf({ permission }: CommandSpec): string | null {
  if (permission === "admins") return "0";
  return permission === "managers" ? PermissionFlagsBits.ManageChannels.toString() : null;
}

/** Channel settings make no sense where the bot is only somebody's private tool. */
function scopeOf(channelSetting: boolean): Pick<CommandJson, "contexts" | "integration_types"> {
  const { Guild, BotDM, PrivateChannel } = InteractionContextType;
  const { GuildInstall, UserInstall } = ApplicationIntegrationType;
  return channelSetting
    ? { contexts: [Guild, BotDM], integration_types: [GuildInstall] }
    : { contexts: [Guild, BotDM, PrivateChannel], integration_types: [GuildInstall, UserInstall] };
}

const optionTypes = {
  text: ApplicationCommandOptionType.String,
  choice: ApplicationCommandOptionType.String,
  flag: ApplicationCommandOptionType.Boolean,
  file: ApplicationCommandOptionType.Attachment,
} as const;

function optionAsJson(command: CommandSpec, option: OptionSpec): OptionJson {
  const texts = (locale: BotLocale): OptionTexts => optionTexts(command, option, locale);
  return {
    type: optionTypes[option.kind],
    name: texts("en").name,
    name_localizations: localized((locale) => texts(locale).name),
    description: texts("en").description,
    description_localizations: localized((locale) => texts(locale).description),
    required: option.required ?? false,
    ...(option.suggests === undefined ? {} : { autocomplete: true }),
    ...(option.charsMax === undefined ? {} : { max_length: option.charsMax }),
    ...(option.choices === undefined
      ? {}
      : {
          choices: option.choices.map((value) => ({
            name: TEXTS.en.periods[value],
            name_localizations: localized((locale) => TEXTS[locale].periods[value]),
            value,
          })),
        }),
  };
}

function askAboutAsJson(): CommandJson {
  return {
    type: ApplicationCommandType.Message,
    name: askAboutName,
    name_localizations: localized((locale) => TEXTS[locale].askAbout.name),
    default_member_permissions: null,
    ...scopeOf(false),
  };
}

/** English stands under its own keys too, so that an English caller never gets another language's fallback. */
function localized(text: (locale: BotLocale) => string): LocalizationMap {
  return { "en-US": text("en"), "en-GB": text("en"), "zh-CN": text("zh-CN"), "zh-TW": text("zh-TW") };
}
