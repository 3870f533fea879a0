/**
 * Commands, forms, buttons and autocompletion over HTTP: the answer to Discord's request is the acknowledgement, and what
 * takes longer is handed back for whoever outlives the request.
 */
import * as z from "zod";
import { AppError } from "../../core/errors.ts";
import { questionCharsMax } from "../../core/limits.ts";
import type { ChatPlace, ChatPost, EventClaims, Logger } from "../../core/ports.ts";
import type { ChatBot } from "../bot.ts";
import { type CommandSpec, findCommand, optionTexts } from "../commands.ts";
import type { Keep } from "../keep.ts";
import { recallAnswer } from "../kept-answers.ts";
import { errorSentence, TEXTS } from "../locale/locale.ts";
import type { Asker, Question } from "../question.ts";
import { shorten } from "../reply-render.ts";
import {
  commandTypes,
  componentTypes,
  interactionTypes,
  messageFlags,
  responseTypes,
  textInputParagraph,
} from "./api-values.ts";
import { ChannelPlace, type DiscordRoutes, InteractionPlace, openDirectPlace } from "./place.ts";
import { autocompleteCharsMax, autocompleteChoicesMax, discordPlatform } from "./platform.ts";
import { readableRawText, readRawHistory } from "./raw-history.ts";
import {
  askerOf,
  fieldOf,
  fileOf,
  filesOf,
  interactionSchema,
  localeOf,
  optionsOf,
  type RawInteraction,
  type RawMessage,
  whereaboutsOf,
} from "./raw-interaction.ts";

export interface HttpDiscordContext extends Omit<DiscordRoutes, "applicationId"> {
  bot: ChatBot;
  claims: EventClaims;
  /** Users who count as administrators everywhere. */
  admins: readonly string[];
  /** Forms' targets and answers' questions. */
  keep: Keep;
  logger: Logger;
  newId: () => string;
}

export interface Reaction {
  /** Answer to Discord's request, within three seconds. */
  response: Record<string, unknown>;
  /** What is left to do: takes as long as an answer takes. Never rejects. */
  later?: () => Promise<void>;
}

/** A reaction to one interaction, with what belongs to it. */
interface Call {
  interaction: RawInteraction;
  asker: Asker;
  /** Milliseconds since the epoch. */
  receivedAt: number;
  context: HttpDiscordContext;
  routes: DiscordRoutes;
}

/**
 * @param body a signed interaction, parsed
 * @returns undefined for one that was reacted to before
 * @throws AppError invalid_request for what is no interaction
 */
export async function reactOnce(
  body: unknown,
  receivedAt: number,
  context: HttpDiscordContext,
): Promise<Reaction | undefined> {
  const interaction = readInteraction(body);
  // Suggestions come with every key and change nothing.
  const changes = interaction.type !== interactionTypes.autocomplete && interaction.type !== interactionTypes.ping;
  if (changes && !(await context.claims.claim("discord", [`interaction ${interaction.id}`], receivedAt))) {
    return undefined;
  }
  return await reactTo(interaction, receivedAt, context);
}

/** As `reactOnce`, for an interaction whose work was cut and is begun again. */
export async function reactAgain(body: unknown, receivedAt: number, context: HttpDiscordContext): Promise<Reaction> {
  return await reactTo(readInteraction(body), receivedAt, context);
}

function readInteraction(body: unknown): RawInteraction {
  const parsed = interactionSchema.safeParse(body);
  if (parsed.success) return parsed.data;
  throw new AppError("invalid_request", "This is no interaction of Discord's.", { cause: parsed.error });
}

async function reactTo(
  interaction: RawInteraction,
  receivedAt: number,
  context: HttpDiscordContext,
): Promise<Reaction> {
  const asker = askerOf(interaction, context.admins);
  if (interaction.type === interactionTypes.ping || asker === undefined)
    return { response: { type: responseTypes.pong } };
  const routes = { ...context, applicationId: interaction.application_id };
  const call: Call = { interaction, asker, receivedAt, context, routes };
  switch (interaction.type) {
    case interactionTypes.autocomplete:
      return await suggest(call);
    case interactionTypes.command:
      return interaction.data?.type === commandTypes.message ? await openAskAbout(call) : runCommand(call);
    case interactionTypes.modalSubmit:
      return submitAskAbout(call);
    case interactionTypes.component:
      return await press(call);
    default:
      return notice(TEXTS[localeOf(interaction)].answerOver);
  }
}

function notice(content: string): Reaction {
  const flags = messageFlags.ephemeral | messageFlags.suppressEmbeds;
  return { response: { type: responseTypes.message, data: { content, flags, allowed_mentions: { parse: [] } } } };
}

async function suggest({ interaction, context }: Call): Promise<Reaction> {
  const { data } = interaction;
  const focused = data?.options?.find((option) => option.focused === true);
  const command = findCommand(data?.name ?? "");
  const option = command?.options.find((one) => optionTexts(command, one, "en").name === focused?.name);
  const typed = String(focused?.value ?? "");
  const found = option === undefined ? [] : await context.bot.suggest(option, typed, autocompleteChoicesMax);
  // Discord refuses the whole list for one choice that is too long.
  const fitting = found.filter((choice) => choice !== "" && choice.length <= autocompleteCharsMax);
  const choices = fitting.slice(0, autocompleteChoicesMax).map((choice) => ({ name: choice, value: choice }));
  return { response: { type: responseTypes.autocomplete, data: { choices } } };
}

/** The acknowledgement that shows "thinking", and the place that takes its turn. */
function defer(call: Call, onlyCaller: boolean, work: (place: ChatPlace) => Promise<void>): Reaction {
  return {
    // No other flag is taken here.
    response: {
      type: responseTypes.deferredMessage,
      ...(onlyCaller ? { data: { flags: messageFlags.ephemeral } } : {}),
    },
    later: () => guarded(call, () => work(replyPlace(call, { private: onlyCaller, deferred: true }))),
  };
}

async function guarded({ interaction, context }: Call, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (thrown) {
    const { reason, platformCode, message } = context.translate(thrown);
    const facts = { interaction: interaction.id, reason, platformCode, error: message };
    context.logger.error("a Discord interaction could not be handled", facts);
  }
}

function replyPlace(
  { interaction, asker, receivedAt, routes }: Call,
  options: { private: boolean; deferred: boolean },
): ChatPlace {
  const direct = () => openDirectPlace(routes, asker.id);
  const { channelId } = whereaboutsOf(interaction);
  return new InteractionPlace(routes, {
    ...options,
    receivedAt,
    token: interaction.token,
    // What only the caller may see must not move into the channel.
    next: async () =>
      options.private || channelId === "" ? await direct() : new ChannelPlace(routes, { channelId, next: direct }),
  });
}

function runCommand(call: Call): Reaction {
  const { interaction, context } = call;
  const texts = TEXTS[localeOf(interaction)];
  const command = findCommand(interaction.data?.name ?? "");
  if (command === undefined) {
    // Registered by an older version of the program, or for another one.
    const sentence = errorSentence(new AppError("invalid_request", "There is no such command."), localeOf(interaction));
    return notice(texts.failure(sentence, context.newId()));
  }
  const options = optionsOf(interaction, command);
  const onlyCaller = command.audience === "caller" || (command.audience === "choice" && options.private === true);
  return defer(call, onlyCaller, async (place) => {
    if (command.key === "ask") await context.bot.ask(questionOfCommand(call, options), place);
    else await reply(call, command, options, place);
  });
}

async function reply(
  { interaction, asker, context, routes }: Call,
  command: CommandSpec,
  options: Record<string, string | boolean | undefined>,
  place: ChatPlace,
): Promise<void> {
  const locale = localeOf(interaction);
  const asked = { command, options, asker, where: whereaboutsOf(interaction), locale, platform: discordPlatform };
  if (command.key === "compare") return await context.bot.compare(asked, place);
  const post: ChatPost = await context.bot.command({ ...asked, showsPictures: true }, `<@${routes.applicationId}>`);
  try {
    await place.post(post);
  } catch (thrown) {
    // "Thinking" for ever would be the worst reply.
    const requestId = context.newId();
    const sentence = errorSentence(new AppError("internal", "A reply was refused."), locale);
    await place.post({ text: TEXTS[locale].failure(sentence, requestId) });
    context.logger.error("a command's reply was refused", { requestId, command: command.key, error: String(thrown) });
  }
}

function questionOfCommand(call: Call, options: Record<string, string | boolean | undefined>): Question {
  const text = typeof options.prompt === "string" ? options.prompt : "";
  return {
    ...commonQuestion(call),
    text,
    quote: text,
    files: filesOf(call.interaction),
    ...(typeof options.model === "string" ? { model: options.model } : {}),
  };
}

function commonQuestion(call: Call) {
  const { interaction, asker, context, routes } = call;
  return {
    id: interaction.id,
    asker,
    where: whereaboutsOf(interaction),
    locale: localeOf(interaction),
    history: () => readRawHistory(interaction, routes, context.logger),
  };
}

const askAboutPrefix = "about:";
const askAboutField = "question";

const targetSchema = z.object({
  text: z.string(),
  attachments: z.array(
    z.object({
      id: z.string(),
      filename: z.string(),
      size: z.number(),
      url: z.string(),
      content_type: z.string().nullish(),
    }),
  ),
});

/** Only this event shows the message's text, so it is kept until the form comes back. */
async function openAskAbout({ interaction, asker, context, routes }: Call): Promise<Reaction> {
  const texts = TEXTS[localeOf(interaction)].askAbout;
  const message: RawMessage | undefined = interaction.data?.resolved?.messages?.[interaction.data.target_id ?? ""];
  if (message === undefined) return notice(TEXTS[localeOf(interaction)].answerForgotten);
  const target = { text: readableRawText(message, routes.applicationId), attachments: message.attachments };
  await context.keep.put(targetKey(asker, message.id), target);
  const input = {
    type: componentTypes.textInput,
    custom_id: askAboutField,
    style: textInputParagraph,
    placeholder: texts.placeholder,
    required: false,
    max_length: 1000,
  };
  const components = [{ type: componentTypes.label, label: texts.label, component: input }];
  const data = { title: texts.title, custom_id: `${askAboutPrefix}${message.id}`, components };
  return { response: { type: responseTypes.modal, data } };
}

const targetKey = (asker: Asker, messageId: string) => `target ${asker.id} ${messageId}`;

function submitAskAbout(call: Call): Reaction {
  const { interaction, asker, context } = call;
  const texts = TEXTS[localeOf(interaction)];
  const form = interaction.data?.custom_id ?? "";
  if (!form.startsWith(askAboutPrefix)) return notice(texts.answerOver);
  const asked = fieldOf(interaction, askAboutField);
  return defer(call, false, async (place) => {
    const kept = await context.keep.get(targetKey(asker, form.slice(askAboutPrefix.length)));
    const target = targetSchema.safeParse(kept);
    if (!target.success) {
      await place.post({ text: texts.failure(texts.answerForgotten, context.newId()) });
      return;
    }
    const { text: about, attachments } = target.data;
    const question = asked === "" ? texts.askAbout.question : asked;
    const text = about === "" ? question : `${texts.askAbout.about}:\n"""\n${about}\n"""\n\n${question}`;
    await context.bot.ask(
      {
        ...commonQuestion(call),
        // A long message is a matter of the context's length, not of what may be typed.
        text: shorten(text, questionCharsMax),
        quote: about === "" ? question : `${question} ↩ ${about}`,
        files: attachments.map(fileOf),
      },
      place,
    );
  });
}

async function press(call: Call): Promise<Reaction> {
  const { interaction, asker, context, routes } = call;
  const buttonId = interaction.data?.custom_id ?? "";
  const history = () => readRawHistory(interaction, routes, context.logger);
  await recallAnswer(buttonId, context.bot, context.keep, history);
  const { ack, later } = context.bot.press(buttonId, asker, whereaboutsOf(interaction), localeOf(interaction));
  const isPrivate = ((interaction.message?.flags ?? 0) & messageFlags.ephemeral) !== 0;
  const work =
    later === undefined
      ? {}
      : { later: () => guarded(call, () => later(replyPlace(call, { private: isPrivate, deferred: false }))) };
  if (ack.kind === "notice") return { ...notice(ack.text), ...work };
  if (ack.kind === "silent") return { response: { type: responseTypes.deferredUpdate }, ...work };
  const data = { components: [], flags: messageFlags.suppressEmbeds, allowed_mentions: { parse: [] } };
  return { response: { type: responseTypes.update, data }, ...work };
}
