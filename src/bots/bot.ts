/**
 * The bot behind every chat platform. Adapters turn their events into the calls below and never decide anything
 * themselves; nothing here knows which platform it is.
 */
import { AppError, toAppError } from "../core/errors.ts";
import { eventsRememberedMax, interruptedNoteMsMax, modelListAgeMsMax, questionCharsMax } from "../core/limits.ts";
import type { BotStateStore, ChatEngine, ChatPlace, FeedbackVote, Logger, ModelListing, Timer } from "../core/ports.ts";
import { type CompareRequest, parseCompareRequest } from "../fit/compare-report.ts";
import { type AccessRules, isAllowed } from "./access.ts";
import { AnswerBook, type AnswerRecord } from "./answer-book.ts";
import { AnswerRun, chooseModel } from "./answer-run.ts";
import { BoundedSet } from "./bounded-set.ts";
import { parseButton } from "./buttons.ts";
import {
  type CommandCall,
  type CommandPorts,
  type CommandReply,
  channelModel,
  refusalOf,
  replyToCommand,
} from "./command-replies.ts";
import { asCalled, availableCommands, type Capability, type CommandSpec, type OptionSpec } from "./commands.ts";
import { type ComparePort, CompareRun } from "./compare-run.ts";
import type { DrawPng, FitsPort } from "./fits-answer.ts";
import { errorSentence, TEXTS } from "./locale/locale.ts";
import type { BotLocale } from "./locale/texts.ts";
import { Pace, type PaceRules } from "./pace.ts";
import type { Asker, Question, Whereabouts } from "./question.ts";
import { WaitEstimate } from "./wait-estimate.ts";

export interface ChatBotOptions {
  engine: ChatEngine;
  state: BotStateStore;
  usage: CommandPorts["usage"];
  fits: FitsPort;
  timer: Timer;
  logger: Logger;
  /** Short unique texts for request ids, without colons. */
  newId: () => string;
  /** Whole numbers from 0 to 2^31 - 1. */
  newSeed: () => number;
  /** Before people's ids in the ledger, where ids repeat from workspace to workspace: "T01/". */
  ledgerPrefix?: string;
  access: AccessRules;
  pace: PaceRules;
  /** How the thoughts of reasoning models are shown. */
  reasoning: "spoiler" | "hidden";
  /** Model of channels that chose none; undefined takes the first that is loaded. */
  defaultModel?: string;
  /** What administrators should hear of their machines, each once. */
  warnings?: CommandPorts["warnings"];
  capabilities?: readonly Capability[];
  /** Without it nothing can be compared. */
  compare?: ComparePort;
  /** Without it /stats has no picture. */
  drawPng?: DrawPng;
  /** Called with what is known of an answer once it ended. */
  onEnded?: (record: AnswerRecord) => void;
}

/** How to react to a pressed button: `ack` within the platform's time, then `later`. */
export interface Press {
  ack:
    | { kind: "silent" }
    /** Shown to the presser alone. */
    | { kind: "notice"; text: string }
    /** The message's buttons go away. */
    | { kind: "clear_buttons" };
  later?: (place: ChatPlace) => Promise<void>;
}

export class ChatBot {
  readonly #options: ChatBotOptions;
  readonly #book = new AnswerBook();
  readonly #pace: Pace;
  readonly #waits = new WaitEstimate();
  readonly #seen = new BoundedSet(eventsRememberedMax);
  readonly #runs = new Set<Promise<void>>();
  readonly #comparisons = new Map<string, { comparison: CompareRun; askerId: string }>();
  #draining = false;
  #models: { list: Promise<ModelListing[]>; at: number } | undefined;

  constructor(options: ChatBotOptions) {
    this.#options = options;
    this.#pace = new Pace(options.pace);
  }

  get commands(): CommandSpec[] {
    return availableCommands(this.#options.capabilities ?? []);
  }

  /** Answers being written. */
  get runningCount(): number {
    return this.#runs.size;
  }

  allows(asker: Asker, where: Whereabouts): boolean {
    return isAllowed(this.#options.access, asker, where);
  }

  /**
   * Answers a question in a place; the same question handed in twice is answered once. Never rejects, and resolves when
   * the last word is written.
   */
  async ask(question: Question, place: ChatPlace): Promise<void> {
    if (!this.#seen.add(`${question.where.source} ${question.id}`)) return;
    if (question.messageId !== undefined && this.#book.isDeleted(question.messageId)) return;
    await this.#answer(question, place);
  }

  /** Reacts at once, without waiting for anything. */
  press(buttonId: string, asker: Asker, where: Whereabouts, locale: BotLocale): Press {
    const texts = TEXTS[locale];
    const button = parseButton(buttonId);
    const record = button === undefined ? undefined : this.#book.find(button.answerId);
    if (button === undefined) return { ack: { kind: "notice", text: texts.answerOver } };
    if (button.verb === "halt") return this.#pressHalt(button.answerId, asker, locale);
    if (button.verb === "stop") return this.#pressStop(record, asker, locale);
    if (!this.allows(asker, where)) return { ack: { kind: "notice", text: texts.notAllowedHere } };
    if (button.verb === "again") return this.#pressAgain(record, asker, locale);
    const vote = button.verb;
    return {
      ack: { kind: "notice", text: texts.voteNoted[vote] },
      later: () => this.#vote(button.answerId, vote, asker, where),
    };
  }

  #pressStop(record: AnswerRecord | undefined, asker: Asker, locale: BotLocale): Press {
    // The last edit may have put other buttons in its place already.
    if (record !== undefined && record.stop === undefined) {
      return { ack: { kind: "notice", text: TEXTS[locale].answerOver } };
    }
    if (record?.stop === undefined) return { ack: { kind: "clear_buttons" } };
    if (!mayControl(record, asker)) return { ack: { kind: "notice", text: TEXTS[locale].onlyAskerMayStop } };
    record.stop("stopped");
    return { ack: { kind: "silent" } };
  }

  #pressAgain(record: AnswerRecord | undefined, asker: Asker, locale: BotLocale): Press {
    if (record === undefined) return { ack: { kind: "notice", text: TEXTS[locale].answerForgotten } };
    if (!mayControl(record, asker)) return { ack: { kind: "notice", text: TEXTS[locale].onlyAskerMayRegenerate } };
    const question = { ...record.question, asker };
    const refusal = this.#refuse(question);
    // The answer keeps its buttons, to be pressed again later.
    if (refusal !== undefined) return { ack: { kind: "notice", text: refusal } };
    return { ack: { kind: "clear_buttons" }, later: (place) => this.#begin(question, place, record) };
  }

  async #vote(answerId: string, vote: FeedbackVote, asker: Asker, where: Whereabouts): Promise<void> {
    const { producer, timings } = this.#book.find(answerId) ?? {};
    try {
      await this.#options.state.recordFeedback({
        answerId,
        source: where.source,
        userId: asker.id,
        vote,
        at: this.#options.timer.now(),
        ...(producer === undefined ? {} : { model: producer.model }),
        ...(producer?.quantization === undefined ? {} : { quantization: producer.quantization }),
        ...(timings?.timeToFirstTokenMs === undefined ? {} : { timeToFirstTokenMs: timings.timeToFirstTokenMs }),
        ...(timings?.completionTokensPerSecond === undefined
          ? {}
          : { completionTokensPerSecond: timings.completionTokensPerSecond }),
      });
    } catch (thrown) {
      this.#options.logger.error("a vote was not stored", { answerId, error: String(thrown) });
    }
  }

  /** Never rejects. */
  async command(call: Omit<CommandCall, "mention">, mention: string): Promise<CommandReply> {
    const { newId, state, usage, fits, timer, logger, defaultModel, capabilities = [], drawPng } = this.#options;
    const { warnings, ledgerPrefix = "" } = this.#options;
    if (!this.allows(call.asker, call.where)) {
      const texts = TEXTS[call.locale];
      return { text: texts.failure(texts.notAllowedHere, newId()), failed: true };
    }
    return await replyToCommand(
      { ...call, mention },
      {
        models: () => this.#modelList(),
        state,
        usage,
        fits,
        clock: timer,
        logger,
        newId,
        defaultModel,
        ledgerPrefix,
        ...(warnings === undefined ? {} : { warnings }),
        capabilities,
        ...(drawPng === undefined ? {} : { drawPng }),
        onForget: (asker, where) => this.#book.forget(asker.id, where.channelId),
      },
    );
  }

  /** Why a comparison is not begun, as a sentence for the caller; undefined when nothing hinders. */
  refusesCompare(call: Omit<CommandCall, "mention" | "platform">): string | undefined {
    const texts = TEXTS[call.locale];
    if (this.#draining) return texts.restarting;
    return this.allows(call.asker, call.where) ? refusalOf(call) : texts.notAllowedHere;
  }

  /**
   * Measures a model at several precisions and writes how it is getting on in a place. Never rejects, and resolves when
   * the report is written.
   */
  async compare(call: Omit<CommandCall, "mention" | "platform">, place: ChatPlace): Promise<void> {
    const { newId, timer, logger, compare: port, drawPng } = this.#options;
    const id = newId();
    const texts = TEXTS[call.locale];
    const refusal = this.refusesCompare(call);
    if (refusal !== undefined || port === undefined) {
      await this.#say(place, texts.failure(refusal ?? texts.notAllowedHere, id));
      return;
    }
    const request = await this.#compareRequest(call).catch((thrown) => toAppError(thrown));
    if (request instanceof AppError) {
      const sentence = `${errorSentence(request, call.locale)} (${request.message})`;
      await this.#say(place, texts.failure(sentence, id));
      return;
    }
    const comparison = new CompareRun(place, { id, request, locale: call.locale, port, drawPng, timer, logger });
    this.#comparisons.set(id, { comparison, askerId: call.asker.id });
    const run = comparison.run();
    this.#runs.add(run);
    try {
      await run;
    } finally {
      this.#runs.delete(run);
      this.#comparisons.delete(id);
    }
  }

  async #compareRequest({ options, where }: Pick<CommandCall, "options" | "where">): Promise<CompareRequest> {
    const { state, defaultModel } = this.#options;
    const typed = (key: string) => {
      const value = options[key];
      return typeof value === "string" && value.trim() !== "" ? value.trim() : undefined;
    };
    const chosen = typed("model") ?? (await channelModel({ where }, { state, defaultModel }));
    const model = chosen ?? chooseModel(await this.#modelList(), undefined, undefined).id;
    const quantizations = typed("quantizations")
      ?.split(/[\s,，、]+/)
      .filter((name) => name !== "");
    const prompt = typed("prompt");
    return parseCompareRequest({
      model,
      ...(quantizations === undefined ? {} : { quantizations }),
      ...(prompt === undefined ? {} : { prompts: [prompt] }),
      ...(options.force === true ? { force: true } : {}),
    });
  }

  #pressHalt(id: string, asker: Asker, locale: BotLocale): Press {
    const running = this.#comparisons.get(id);
    if (running === undefined) return { ack: { kind: "notice", text: TEXTS[locale].compareOver } };
    if (!asker.isAdmin && running.askerId !== asker.id) {
      return { ack: { kind: "notice", text: TEXTS[locale].onlyAskerMayStop } };
    }
    running.comparison.stop();
    return { ack: { kind: "silent" } };
  }

  /** Suggestions for what is being typed; never rejects. */
  async suggest(option: OptionSpec, typed: string, countMax: number): Promise<string[]> {
    if (option.suggests === "fits") return this.#options.fits.suggest(typed, countMax);
    if (option.suggests !== "models") return [];
    const models = await this.#modelList().catch(() => []);
    const wanted = typed.trim().toLowerCase();
    return models
      .map((model) => model.id)
      .filter((id) => id.toLowerCase().includes(wanted))
      .slice(0, countMax);
  }

  /** Whether the answer a button belongs to is in mind. */
  remembers(answerId: string): boolean {
    return this.#book.find(answerId) !== undefined;
  }

  /** Takes up an answer of an earlier run of the program, for its buttons. */
  remember(record: AnswerRecord): void {
    if (!this.remembers(record.id)) this.#book.add(record);
  }

  /** A message is gone, whoever wrote it. */
  messageDeleted(messageId: string): void {
    this.#book.messageDeleted(messageId);
  }

  /** A channel, thread or server is gone. */
  placeDeleted(id: string): void {
    for (const record of this.#book.running()) {
      const { channelId, parentChannelId, serverId } = record.question.where;
      if (channelId === id || parentChannelId === id || serverId === id) record.stop?.("answer_lost");
    }
  }

  /** Nothing can be written on the platform any more: running answers end at once. */
  stopAll(): void {
    for (const record of this.#book.running()) record.stop?.("answer_lost");
  }

  /** Takes no more questions, waits for running answers, then ends those that are left with a note. */
  async drain(waitMsMax: number): Promise<void> {
    this.#draining = true;
    const ended = new AbortController();
    const waiting = this.#options.timer.wait(waitMsMax, ended.signal);
    await Promise.race([Promise.all(this.#runs), waiting]);
    ended.abort();
    for (const record of this.#book.running()) record.stop?.("restart");
    for (const { comparison } of this.#comparisons.values()) comparison.stop();
    // A platform that is away must not keep the program from ending.
    await Promise.race([Promise.all(this.#runs), this.#options.timer.wait(interruptedNoteMsMax)]);
  }

  async #answer(question: Question, place: ChatPlace): Promise<void> {
    const refusal = this.#refuse(question);
    if (refusal === undefined) await this.#begin(question, place);
    else {
      const { locale } = question;
      const sentence = asCalled(refusal, locale, place.platform.commands);
      await this.#say(place, TEXTS[locale].failure(sentence, this.#options.newId()));
    }
  }

  /** @param again an answer to the same question that this one takes the place of */
  async #begin(question: Question, place: ChatPlace, again?: AnswerRecord): Promise<void> {
    const id = this.#options.newId();
    if (again !== undefined) again.superseded = true;
    const record: AnswerRecord = { id, question, text: "", messageIds: [], superseded: false };
    this.#book.add(record);
    const { engine, state, timer, logger, reasoning, defaultModel, onEnded, ledgerPrefix = "" } = this.#options;
    const run = new AnswerRun(record, place, {
      engine,
      state,
      timer,
      logger,
      reasoning,
      ledgerPrefix,
      defaultModel,
      models: () => this.#modelList(),
      book: this.#book,
      waits: this.#waits,
      ...(onEnded === undefined ? {} : { onEnded }),
      ...(again === undefined ? {} : { seed: this.#options.newSeed() }),
    }).run();
    this.#pace.begin(question.asker.id);
    this.#runs.add(run);
    try {
      await run;
    } finally {
      this.#runs.delete(run);
      this.#pace.end(question.asker.id);
    }
  }

  #refuse(question: Question): string | undefined {
    const texts = TEXTS[question.locale];
    if (!this.allows(question.asker, question.where)) return texts.notAllowedHere;
    if (this.#draining) return texts.restarting;
    if (question.text.trim() === "" && question.files.length === 0) return texts.emptyQuestion;
    if (question.text.length > questionCharsMax) return texts.questionTooLong(questionCharsMax);
    const verdict = this.#pace.admit(question.asker.id, question.where.channelId, this.#options.timer.now());
    if (verdict.allowed) return undefined;
    if (verdict.scope === "running") return texts.stillAnswering(verdict.running);
    const seconds = Math.max(1, Math.ceil(verdict.retryAfterMs / 1000));
    return verdict.scope === "user" ? texts.tooOftenUser(seconds) : texts.tooOftenChannel(seconds);
  }

  async #say(place: ChatPlace, text: string): Promise<void> {
    await place.post({ text, buttons: [] }).catch((thrown) => {
      this.#options.logger.warn("a refusal could not be shown", { error: String(thrown) });
    });
  }

  #modelList(): Promise<ModelListing[]> {
    const now = this.#options.timer.now();
    if (this.#models === undefined || now - this.#models.at > modelListAgeMsMax) {
      // Embedding models and rerankers have nothing to say in a chat.
      const chatting = this.#options.engine.models().then((all) => all.filter(({ task }) => task === undefined));
      const models = { list: chatting, at: now };
      this.#models = models;
      // A failure is not worth remembering.
      models.list.catch(() => {
        if (this.#models === models) this.#models = undefined;
      });
    }
    return this.#models.list;
  }
}

function mayControl(record: AnswerRecord, asker: Asker): boolean {
  return asker.isAdmin || record.question.asker.id === asker.id;
}
