/** What each command but /ask replies. */
import { AppError, toAppError } from "../core/errors.ts";
import { fitQueryCharsMax, personaCharsMax } from "../core/limits.ts";
import type {
  BotStateStore,
  ChatFile,
  ChatPlatform,
  ChatPost,
  Clock,
  Logger,
  ModelListing,
  UsageGrouping,
  UsageStore,
  UsageTotals,
} from "../core/ports.ts";
import { formatDuration, formatParameterCount, formatTokens } from "../core/units.ts";
import { chooseModel, findModel } from "./answer-run.ts";
import {
  asCalled,
  availableCommands,
  type Capability,
  COMMANDS,
  type CommandName,
  type CommandSpec,
  commandTexts,
  isPeriod,
  optionTexts,
  PERIOD_MS,
  type Period,
} from "./commands.ts";
import type { DrawPng, FitsPort } from "./fits-answer.ts";
import { errorSentence, TEXTS } from "./locale/locale.ts";
import type { BotLocale, Texts } from "./locale/texts.ts";
import type { Asker, Whereabouts } from "./question.ts";
import { shorten } from "./reply-render.ts";
import { splitMarkdown } from "./reply-split.ts";
import { renderStatsPicture, statsPictureDays, statsPictureSince } from "./stats-picture.ts";
import type { WarningTeller } from "./warnings.ts";

export interface CommandCall {
  command: CommandSpec;
  /** By option key. */
  options: Readonly<Record<string, string | boolean | undefined>>;
  asker: Asker;
  where: Whereabouts;
  locale: BotLocale;
  platform: ChatPlatform;
  /** How one addresses the bot here, for the help. */
  mention: string;
  /** A picture would be shown where the reply goes; drawing one costs a moment. */
  showsPictures?: boolean;
}

/** The ledger, as the bots see it. */
export type UsageReader = Pick<UsageStore, "groups">;

export interface CommandPorts {
  models: () => Promise<ModelListing[]>;
  state: BotStateStore;
  usage: UsageReader;
  fits: FitsPort;
  clock: Clock;
  logger: Logger;
  newId: () => string;
  defaultModel: string | undefined;
  /** Before people's ids in the ledger. */
  ledgerPrefix: string;
  capabilities: readonly Capability[];
  /** Without it there are no pictures. */
  drawPng?: DrawPng;
  /** What administrators should hear of their machines, each once. */
  warnings?: WarningTeller;
  /** Also drops what is in memory. */
  onForget: (asker: Asker, where: Whereabouts) => void;
}

/** A reply to a command. */
export interface CommandReply extends ChatPost {
  /** Nothing was done, which is the caller's business alone. */
  failed?: true;
}

type Reply = (call: CommandCall, texts: Texts, ports: CommandPorts) => Promise<CommandReply> | CommandReply;

/** Never rejects: a failure is a reply too. */
export async function replyToCommand(call: CommandCall, ports: CommandPorts): Promise<CommandReply> {
  const texts = TEXTS[call.locale];
  const reply = replies[call.command.key];
  try {
    if (reply === undefined) throw new AppError("not_found", `There is no command ${call.command.key}.`);
    const refusal = refuseByPermission(call, texts);
    if (refusal !== undefined) {
      return {
        text: texts.failure(asCalled(refusal, call.locale, call.platform.commands), ports.newId()),
        failed: true,
      };
    }
    return fitted(await reply(call, texts, ports), call.platform);
  } catch (thrown) {
    const error = toAppError(thrown);
    const requestId = ports.newId();
    const facts = { requestId, command: call.command.key, code: error.code, error: error.message };
    ports.logger.warn("a command failed", {
      ...facts,
      ...(error.cause instanceof Error ? { cause: error.cause.stack ?? error.cause.message } : {}),
    });
    const sentence =
      ownSentence(error, call.locale) ??
      asCalled(errorSentence(error, call.locale), call.locale, call.platform.commands);
    return { text: texts.failure(sentence, requestId), failed: true };
  }
}

/** Why the caller may not use the command; undefined when nothing hinders. */
export function refusalOf(
  call: Pick<CommandCall, "command" | "asker" | "where" | "options" | "locale">,
): string | undefined {
  return refuseByPermission(call, TEXTS[call.locale]);
}

/** The planner says in every language what it did not understand, which helps more than the table's sentence. */
function ownSentence({ details }: AppError, locale: BotLocale): string | undefined {
  const sentences = details?.sentences as { en?: unknown; zh?: unknown } | undefined;
  const sentence = locale === "en" ? sentences?.en : sentences?.zh;
  return typeof sentence === "string" ? sentence : undefined;
}

function refuseByPermission(
  { command, asker, where, options }: Pick<CommandCall, "command" | "asker" | "where" | "options">,
  texts: Texts,
): string | undefined {
  if (command.permission === "admins" && !asker.isAdmin) {
    return command.key === "stats" ? texts.statsAdminsOnly : texts.adminsOnly;
  }
  const changes = Object.values(options).some((value) => value !== undefined && value !== false);
  const mayManage = asker.isManager || asker.isAdmin || where.direct;
  if (command.permission === "managers" && changes && !mayManage) return texts.managersOnly;
  return undefined;
}

function fitted(post: CommandReply, platform: ChatPlatform): CommandReply {
  const { messageCharsMax } = platform.limits;
  if (post.text.length <= messageCharsMax) return post;
  return { ...post, text: `${splitMarkdown(post.text, messageCharsMax - 2)[0]} …` };
}

const replies: Partial<Record<CommandSpec["key"], Reply>> = {
  fits: replyFits,
  models: replyModels,
  model: replyModel,
  persona: replyPersona,
  stats: replyStats,
  usage: replyUsage,
  forget: replyForget,
  help: replyHelp,
};

async function replyFits(call: CommandCall, texts: Texts, { fits }: CommandPorts): Promise<CommandReply> {
  const { options, locale, platform } = call;
  const query = textOption(options.query).slice(0, fitQueryCharsMax);
  if (query === "") return { text: texts.fitsNeedsQuery, failed: true };
  const { text, picture } = await fits.answer(query, locale, platform.limits.messageCharsMax);
  return { text, ...(picture === undefined ? {} : { files: [picture] }) };
}

async function replyModels(call: CommandCall, texts: Texts, ports: CommandPorts): Promise<ChatPost> {
  const models = await ports.models();
  if (models.length === 0) return { text: texts.modelsNone };
  const here = chooseModel(models, undefined, await channelModel(call, ports));
  const lines = models.map((model) => {
    const facts = [
      model.quantization,
      model.parameterCount === undefined ? undefined : formatParameterCount(model.parameterCount),
      model.contextLength === undefined ? undefined : texts.modelContext(formatTokens(model.contextLength)),
      model.demo === true ? texts.modelDemo : undefined,
      model.loaded ? texts.modelLoaded : undefined,
      model.id === here.id ? texts.modelHere : undefined,
    ];
    return `- ${[`**${model.id}**`, ...facts.filter((fact) => fact !== undefined)].join(" · ")}`;
  });
  return { text: `**${texts.modelsTitle}**\n${lines.join("\n")}` };
}

async function replyModel(call: CommandCall, texts: Texts, ports: CommandPorts): Promise<ChatPost> {
  const { source, channelId } = call.where;
  const name = textOption(call.options.name);
  const models = await ports.models();
  if (name === "") {
    const { id } = chooseModel(models, undefined, await channelModel(call, ports));
    return { text: texts.modelCurrent(id, exampleOf("model", "name", call)) };
  }
  if (name.toLowerCase() === "default" || name === texts.defaultModel) {
    await ports.state.setChannelSettings(source, channelId, { model: undefined });
    return { text: texts.modelReset(chooseModel(models, undefined, ports.defaultModel).id) };
  }
  const model = findModel(models, name);
  if (model === undefined) {
    return { text: texts.modelUnknown(shorten(name, 80), models.map(({ id }) => id).join(", ")) };
  }
  await ports.state.setChannelSettings(source, channelId, { model: model.id });
  return { text: texts.modelSet(model.id) };
}

export async function channelModel(
  { where }: Pick<CommandCall, "where">,
  { state, defaultModel }: Pick<CommandPorts, "state" | "defaultModel">,
): Promise<string | undefined> {
  const own = await state.channelSettings(where.source, where.channelId);
  const above =
    where.parentChannelId === undefined ? {} : await state.channelSettings(where.source, where.parentChannelId);
  return own.model ?? above.model ?? defaultModel;
}

async function replyPersona(call: CommandCall, texts: Texts, { state }: CommandPorts): Promise<ChatPost> {
  const { source, channelId } = call.where;
  const text = textOption(call.options.text);
  const { quote } = call.platform.markup;
  if (call.options.remove === true) {
    await state.setChannelSettings(source, channelId, { persona: undefined });
    return { text: texts.personaRemoved };
  }
  if (text === "") {
    const { persona } = await state.channelSettings(source, channelId);
    if (persona !== undefined) return { text: `${texts.personaCurrent}\n${quote(persona)}` };
    return { text: texts.personaNone(exampleOf("persona", "text", call)) };
  }
  if (text.length > personaCharsMax) return { text: texts.personaTooLong(personaCharsMax) };
  await state.setChannelSettings(source, channelId, { persona: text });
  return { text: `${texts.personaSet}\n${quote(text)}` };
}

async function replyUsage(
  call: CommandCall,
  texts: Texts,
  { usage, clock, ledgerPrefix }: CommandPorts,
): Promise<ChatPost> {
  const { since, period } = periodOf(call, texts, clock);
  const userId = `${call.where.source}:${ledgerPrefix}${call.asker.id}`;
  const byModel = await usage.groups({ since, userId, group: "model", limit: groupsShownMax });
  const title = `**${texts.usageTitle(period)}**`;
  if (byModel.totals.requests === 0) return { text: `${title}\n${texts.usageNone}` };
  return { text: [title, ...totalLines(byModel.totals, texts), ...groupLines(byModel, texts)].join("\n") };
}

async function replyStats(call: CommandCall, texts: Texts, ports: CommandPorts): Promise<ChatPost> {
  const { since, period } = periodOf(call, texts, ports.clock);
  const grouped = (group: UsageGrouping) => ports.usage.groups({ since, group, limit: groupsShownMax });
  const [byModel, bySource, byUser, votes] = await Promise.all([
    grouped("model"),
    grouped("source"),
    grouped("user"),
    ports.state.feedbackTotals(since),
  ]);
  // Before the figures: a long list of them is cut at its end.
  const warnings = ((await ports.warnings?.()) ?? []).map(
    ({ engine, text }) => `⚠️ ${engine}: ${call.locale === "en" ? text.en : text.zh}`,
  );
  const title = [...warnings, `**${texts.statsTitle(period)}**`].join("\n");
  if (byModel.totals.requests === 0 && votes.length === 0) return { text: `${title}\n${texts.usageNone}` };
  const thumbs = votes.map(({ model, up, down }) => `- ${model === "" ? "?" : model}: 👍 ${up} · 👎 ${down}`);
  const picture = await drawStats(call, texts, ports);
  const people = byUser.groups.map((group) => ({
    ...group,
    value: userName(group.value, call.platform, ports.ledgerPrefix),
  }));
  return {
    text: [
      title,
      ...totalLines(byModel.totals, texts),
      ...(thumbs.length === 0 ? [] : [`**${texts.statsFeedback}**`, ...thumbs]),
      `**${texts.statsByModel}**`,
      ...groupLines(byModel, texts),
      `**${texts.statsBySource}**`,
      ...groupLines(bySource, texts),
      `**${texts.statsByUser}**`,
      ...groupLines({ ...byUser, groups: people }, texts),
    ].join("\n"),
    ...(picture === undefined ? {} : { files: [picture] }),
  };
}

async function drawStats(call: CommandCall, texts: Texts, ports: CommandPorts): Promise<ChatFile | undefined> {
  const { usage, clock, drawPng } = ports;
  if (drawPng === undefined || call.showsPictures !== true) return undefined;
  const now = clock.now();
  const { groups } = await usage.groups({ since: statsPictureSince(now), group: "day", limit: statsPictureDays });
  const bytes = await drawPng(
    (drawable) => renderStatsPicture(groups, now, drawable === "en" ? TEXTS.en : texts),
    call.locale === "en" ? "en" : "zh",
  );
  if (bytes === undefined) return undefined;
  return { name: "usage.png", contentType: "image/png", bytes, description: texts.statsPicture.description };
}

/** Busiest first; more would not be read in a chat. */
const groupsShownMax = 10;

type GroupsRead = Awaited<ReturnType<UsageStore["groups"]>>;

function groupLines({ groups, groupCount }: GroupsRead, texts: Texts): string[] {
  const lines = groups.map(({ value, requests, promptTokens, completionTokens, timeToFirstTokenMs, ...more }) => {
    const facts = [texts.statsRow(value === "" ? "?" : value, requests, promptTokens + completionTokens)];
    if (timeToFirstTokenMs !== undefined) {
      const [p50, p95] = [formatDuration(timeToFirstTokenMs.p50), formatDuration(timeToFirstTokenMs.p95)];
      facts.push(texts.statsFirstWord(p50, p95 === p50 ? undefined : p95));
    }
    const rate = more.completionTokensPerSecond?.p50;
    if (rate !== undefined) facts.push(texts.tokensPerSecond(rate >= 100 ? rate.toFixed(0) : rate.toFixed(1)));
    return `- ${facts.join(" · ")}`;
  });
  return groupCount > groups.length ? [...lines, `- ${texts.statsMore(groupCount - groups.length)}`] : lines;
}

function totalLines(totals: UsageTotals, texts: Texts): string[] {
  return [
    texts.usageRequests(totals.requests, totals.failed, totals.aborted),
    texts.usageTokens(totals.promptTokens, totals.completionTokens, totals.cachedPromptTokens),
  ];
}

/** The ledger knows "discord:123"; the platform can show its own people by name. */
function userName(userId: string, platform: ChatPlatform, ledgerPrefix: string): string {
  const prefix = `${platform.name}:${ledgerPrefix}`;
  return userId.startsWith(prefix) ? platform.markup.person(userId.slice(prefix.length)) : userId;
}

function periodOf({ options }: CommandCall, texts: Texts, clock: Clock): { since: number; period: string } {
  const wanted = textOption(options.period);
  const period: Period = isPeriod(wanted) ? wanted : "day";
  return { since: clock.now() - PERIOD_MS[period], period: texts.periods[period] };
}

async function replyForget({ asker, where }: CommandCall, texts: Texts, ports: CommandPorts): Promise<ChatPost> {
  await ports.state.forget(where.source, where.channelId, asker.id, ports.clock.now());
  ports.onForget(asker, where);
  return { text: texts.forgotten };
}

function replyHelp(call: CommandCall, texts: Texts, { capabilities }: CommandPorts): ChatPost {
  const { locale, asker, mention, platform } = call;
  const listed = availableCommands(capabilities).filter((command) => command.permission !== "admins" || asker.isAdmin);
  const { fields, followUps } = platform.commands;
  const { command: ask, option } = namesOf("ask", "private", call);
  return {
    text: texts.help({
      commands: listed.map((command) => ({
        name: commandTexts(command, nameLocaleOf(call)).name,
        description: commandTexts(command, locale).description,
      })),
      mention,
      ask,
      privately: fields ? option : `--${option}`,
      followUps,
    }),
  };
}

/** The language commands and options have their names in. */
function nameLocaleOf({ platform, locale }: Pick<CommandCall, "platform" | "locale">): BotLocale {
  return platform.commands.localized ? locale : "en";
}

/** Names as the caller has to type them. */
function namesOf(key: CommandName, optionKey: string, call: CommandCall): { command: string; option: string } {
  const command = COMMANDS.find((one) => one.key === key);
  const option = command?.options.find((one) => one.key === optionKey);
  if (command === undefined || option === undefined) throw new Error(`There is no option ${optionKey} of ${key}`);
  const locale = nameLocaleOf(call);
  return { command: commandTexts(command, locale).name, option: optionTexts(command, option, locale).name };
}

/** How a command is called with its main option: `/model name:…`, or `/model …` where one types it behind the name. */
function exampleOf(key: CommandName, optionKey: string, call: CommandCall): string {
  const { command, option } = namesOf(key, optionKey, call);
  return call.platform.commands.fields ? `/${command} ${option}:…` : `/${command} …`;
}

function textOption(value: string | boolean | undefined): string {
  return typeof value === "string" ? value.trim() : "";
}
