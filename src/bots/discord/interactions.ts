/** Commands, forms, buttons and autocompletion: acknowledge first, work later. */
import {
  type APIModalInteractionResponseCallbackData,
  type AutocompleteInteraction,
  type ButtonInteraction,
  type ChatInputCommandInteraction,
  ComponentType,
  type Interaction,
  type Message,
  type MessageContextMenuCommandInteraction,
  MessageFlags,
  type ModalSubmitInteraction,
  TextInputStyle,
} from "discord.js";
import { AppError } from "../../core/errors.ts";
import { questionCharsMax } from "../../core/limits.ts";
import type { ChatPlace } from "../../core/ports.ts";
import type { ChatBot } from "../bot.ts";
import type { CommandSpec, OptionSpec } from "../commands.ts";
import { findCommand, optionTexts } from "../commands.ts";
import { errorSentence, TEXTS } from "../locale/locale.ts";
import type { Question, QuestionFile } from "../question.ts";
import { shorten } from "../reply-render.ts";
import { askAboutName } from "./command-json.ts";
import type { DiscordContext } from "./context.ts";
import { questionFileOf } from "./files.ts";
import { readableText, readHistory } from "./history.ts";
import { askerOfInteraction, whereaboutsOf } from "./people.ts";
import { ChannelPlace, InteractionPlace, openDirectPlace } from "./place.ts";
import { autocompleteCharsMax, autocompleteChoicesMax, discordPlatform } from "./platform.ts";

type Repliable = ChatInputCommandInteraction | ModalSubmitInteraction | ButtonInteraction;

/** Rejects only for faults of ours or of the acknowledgement; the caller logs them. */
export async function handleInteraction(interaction: Interaction, context: DiscordContext): Promise<void> {
  if (interaction.isAutocomplete()) await suggest(interaction, context.bot);
  else if (interaction.isChatInputCommand()) await runCommand(interaction, context);
  else if (interaction.isMessageContextMenuCommand()) await openAskAbout(interaction, context);
  else if (interaction.isModalSubmit()) await submitAskAbout(interaction, context);
  else if (interaction.isButton()) await press(interaction, context);
}

async function suggest(interaction: AutocompleteInteraction, bot: ChatBot): Promise<void> {
  const command = findCommand(interaction.commandName);
  const focused = interaction.options.getFocused(true);
  const option = command?.options.find((one) => optionTexts(command, one, "en").name === focused.name);
  const found = option === undefined ? [] : await bot.suggest(option, focused.value, autocompleteChoicesMax);
  // Discord refuses the whole list for one choice that is too long.
  const fitting = found.filter((choice) => choice !== "" && choice.length <= autocompleteCharsMax);
  await interaction.respond(
    fitting.slice(0, autocompleteChoicesMax).map((choice) => ({ name: choice, value: choice })),
  );
}

async function runCommand(interaction: ChatInputCommandInteraction, context: DiscordContext): Promise<void> {
  const { bot, locales, admins } = context;
  const command = findCommand(interaction.commandName);
  const locale = locales.ofInteraction(interaction);
  if (command === undefined) {
    // Registered by an older version of the program, or for another one.
    const sentence = errorSentence(new AppError("invalid_request", "There is no such command."), locale);
    const content = TEXTS[locale].failure(sentence, context.newId());
    await interaction.reply({ content, flags: MessageFlags.Ephemeral });
    return;
  }
  const onlyCaller =
    command.audience === "caller" ||
    (command.audience === "choice" && interaction.options.getBoolean("private") === true);
  const place = await defer(interaction, onlyCaller, context);
  if (command.key === "ask") {
    await bot.ask(questionOfCommand(interaction, command, context), place);
    return;
  }
  const call = {
    command,
    options: readOptions(interaction, command),
    asker: askerOfInteraction(interaction, admins),
    where: whereaboutsOf(interaction, interaction.channel),
    locale,
    platform: discordPlatform,
    showsPictures: true,
  };
  if (command.key === "compare") {
    await bot.compare(call, place);
    return;
  }
  const post = await bot.command(call, `<@${context.botId}>`);
  try {
    await place.post(post);
  } catch (thrown) {
    // "Thinking" for ever would be the worst reply.
    const requestId = context.newId();
    const texts = TEXTS[locale];
    const sentence = errorSentence(new AppError("internal", "A reply was refused."), locale);
    await place.post({ text: texts.failure(sentence, requestId) });
    context.logger.error("a command's reply was refused", { requestId, command: command.key, error: String(thrown) });
  }
}

/** The three seconds are for this alone: nothing is looked up before it. */
async function defer(interaction: Repliable, onlyCaller: boolean, context: DiscordContext): Promise<ChatPlace> {
  const receivedAt = context.clock.now();
  await interaction.deferReply(onlyCaller ? { flags: MessageFlags.Ephemeral } : {});
  return replyPlace(interaction, { receivedAt, private: onlyCaller, deferred: true }, context);
}

function replyPlace(
  interaction: Repliable,
  options: { receivedAt: number; private: boolean; deferred: boolean },
  context: DiscordContext,
): ChatPlace {
  const direct = () => openDirectPlace(context, interaction.user.id);
  const { channelId, token } = interaction;
  return new InteractionPlace(context, {
    ...options,
    token,
    // What only the caller may see must not move into the channel.
    next: async () =>
      options.private || channelId === null ? await direct() : new ChannelPlace(context, { channelId, next: direct }),
  });
}

function readOptions(
  interaction: ChatInputCommandInteraction,
  command: CommandSpec,
): Record<string, string | boolean | undefined> {
  const read = (option: OptionSpec) => {
    const { name } = optionTexts(command, option, "en");
    if (option.kind === "flag") return interaction.options.getBoolean(name) ?? undefined;
    return option.kind === "file" ? undefined : (interaction.options.getString(name) ?? undefined);
  };
  return Object.fromEntries(command.options.map((option) => [option.key, read(option)]));
}

function questionOfCommand(
  interaction: ChatInputCommandInteraction,
  command: CommandSpec,
  context: DiscordContext,
): Question {
  const options = readOptions(interaction, command);
  const text = typeof options.prompt === "string" ? options.prompt : "";
  const file = interaction.options.getAttachment("file");
  return {
    ...commonQuestion(interaction, context),
    text,
    quote: text,
    files: file === null ? [] : [questionFileOf(file)],
    ...(typeof options.model === "string" ? { model: options.model } : {}),
  };
}

function commonQuestion(interaction: ChatInputCommandInteraction | ModalSubmitInteraction, context: DiscordContext) {
  const { id, channel } = interaction;
  const continues = channel !== null && (channel.isThread() || channel.isDMBased());
  return {
    id,
    asker: askerOfInteraction(interaction, context.admins),
    where: whereaboutsOf({ channelId: interaction.channelId ?? "", guildId: interaction.guildId }, channel),
    locale: context.locales.ofInteraction(interaction),
    history: () => readHistory(continues ? channel : null, id, undefined, context.botId, context.logger),
  };
}

const askAboutPrefix = "about:";
const askAboutField = "question";
/** Forms that may stand open at once. */
const targetsRememberedMax = 200;

async function openAskAbout(interaction: MessageContextMenuCommandInteraction, context: DiscordContext): Promise<void> {
  if (interaction.commandName !== askAboutName) return;
  const texts = TEXTS[context.locales.ofInteraction(interaction)].askAbout;
  const message = interaction.targetMessage;
  // Only this event shows the message's text, so it is kept until the form comes back.
  context.targets.set(`${interaction.user.id} ${message.id}`, message);
  const oldest = context.targets.keys().next().value;
  if (context.targets.size > targetsRememberedMax && oldest !== undefined) context.targets.delete(oldest);
  const form: APIModalInteractionResponseCallbackData = {
    title: texts.title,
    custom_id: `${askAboutPrefix}${message.id}`,
    components: [
      {
        type: ComponentType.Label,
        label: texts.label,
        component: {
          type: ComponentType.TextInput,
          custom_id: askAboutField,
          style: TextInputStyle.Paragraph,
          placeholder: texts.placeholder,
          required: false,
          max_length: 1000,
        },
      },
    ],
  };
  await interaction.showModal(form);
}

async function submitAskAbout(interaction: ModalSubmitInteraction, context: DiscordContext): Promise<void> {
  if (!interaction.customId.startsWith(askAboutPrefix)) return;
  const locale = context.locales.ofInteraction(interaction);
  const texts = TEXTS[locale];
  const asked = interaction.fields.getTextInputValue(askAboutField).trim();
  const target = context.targets.get(`${interaction.user.id} ${interaction.customId.slice(askAboutPrefix.length)}`);
  const place = await defer(interaction, false, context);
  if (target === undefined) {
    await place.post({ text: texts.failure(texts.answerForgotten, context.newId()) });
    return;
  }
  const about = readableText(target, context.botId);
  const question = asked === "" ? texts.askAbout.question : asked;
  const text = about === "" ? question : `${texts.askAbout.about}:\n"""\n${about}\n"""\n\n${question}`;
  await context.bot.ask(
    {
      ...commonQuestion(interaction, context),
      // A long message is a matter of the context's length, not of what may be typed.
      text: shorten(text, questionCharsMax),
      quote: about === "" ? question : `${question} ↩ ${about}`,
      files: filesOf(target),
    },
    place,
  );
}

function filesOf(message: Message): QuestionFile[] {
  return [...message.attachments.values()].map(questionFileOf);
}

async function press(interaction: ButtonInteraction, context: DiscordContext): Promise<void> {
  const receivedAt = context.clock.now();
  const locale = context.locales.ofInteraction(interaction);
  const asker = askerOfInteraction(interaction, context.admins);
  const where = whereaboutsOf(interaction, interaction.channel);
  const { ack, later } = context.bot.press(interaction.customId, asker, where, locale);
  if (ack.kind === "notice") await interaction.reply({ content: ack.text, flags: MessageFlags.Ephemeral });
  else if (ack.kind === "silent") await interaction.deferUpdate();
  else await interaction.update({ components: [], flags: MessageFlags.SuppressEmbeds });
  const isPrivate = interaction.message.flags.has(MessageFlags.Ephemeral);
  await later?.(replyPlace(interaction, { receivedAt, private: isPrivate, deferred: false }, context));
}
