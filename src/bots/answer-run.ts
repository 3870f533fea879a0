/** One answer from the question to its last edit: the pipeline every platform and every way of asking shares. */
import { type ChatEvent, isTerminal, type Producer, type TerminalChatEvent } from "../core/chat.ts";
import { AppError, toAppError } from "../core/errors.ts";
import { placeholderDelayMs } from "../core/limits.ts";
import type { BotStateStore, ChatButton, ChatEngine, ChatPlace, Logger, ModelListing, Timer } from "../core/ports.ts";
import type { AnswerBook, AnswerRecord, StopReason } from "./answer-book.ts";
import { answerButtons } from "./buttons.ts";
import { asCalled } from "./commands.ts";
import { buildConversation, type Conversation, withoutForgotten } from "./conversation.ts";
import { errorSentence, TEXTS } from "./locale/locale.ts";
import { readQuestionFiles } from "./question-files.ts";
import { partReasoning } from "./reply-reasoning.ts";
import { type ReplyView, renderReply } from "./reply-render.ts";
import { ReplyWriter } from "./reply-writer.ts";
import type { WaitEstimate } from "./wait-estimate.ts";

export interface AnswerRunOptions {
  engine: ChatEngine;
  /** Cached: asked with every question. */
  models: () => Promise<ModelListing[]>;
  state: BotStateStore;
  book: AnswerBook;
  timer: Timer;
  logger: Logger;
  waits: WaitEstimate;
  reasoning: "spoiler" | "hidden";
  defaultModel: string | undefined;
  /** Before people's ids in the ledger. */
  ledgerPrefix: string;
  /** Set for a second answer to the same question, so that it differs. */
  seed?: number;
  /** Called with what is known of an answer once it ended, before its last state is written. */
  onEnded?: (record: AnswerRecord) => void;
}

/** What the model is to be asked, or why it is not. */
type Prepared = { refusal: string } | { converse: (budgetShare: number) => Conversation; model: string };

/** A greedy second answer would be the first one again. */
const regenerateTemperature = 0.7;

/** Shares of the history's budget tried in turn when the engine finds the request too long. */
const budgetShares = [1, 0.5, 0.2, 0];

export class AnswerRun {
  readonly #record: AnswerRecord;
  readonly #options: AnswerRunOptions;
  readonly #writer: ReplyWriter;
  readonly #place: ChatPlace;
  readonly #abort = new AbortController();
  #stopReason: StopReason | undefined;
  #text = "";
  /** What the engine itself told apart from the answer. */
  #reasoning = "";
  #status: string;
  #historyCount = 0;
  #producer: Producer | undefined;

  constructor(record: AnswerRecord, place: ChatPlace, options: AnswerRunOptions) {
    this.#record = record;
    this.#options = options;
    this.#place = place;
    this.#status = this.#texts.thinking;
    record.stop = (reason) => this.#stop(reason);
    this.#writer = new ReplyWriter(place, {
      timer: options.timer,
      logger: options.logger,
      firstWriteMs: placeholderDelayMs,
      movedNote: this.#texts.continuedBelow,
      onPosted: (message) => options.book.link(record, message.id),
      onExpiring: () => this.#stop("reply_limit"),
      onLost: () => this.#stop("answer_lost"),
    });
  }

  get #texts() {
    return TEXTS[this.#record.question.locale];
  }

  /** Never rejects; resolves when the last state is written or can no longer be. */
  async run(): Promise<void> {
    void this.#place.typing();
    this.#show();
    let failure: string | undefined;
    let end: TerminalChatEvent | undefined;
    try {
      const prepared = await this.#prepare();
      if ("refusal" in prepared) failure = this.#failed(prepared.refusal);
      else end = await this.#converse(prepared);
      if (end?.type === "error") failure = this.#failure(AppError.fromFacts(end.error));
    } catch (thrown) {
      if (!this.#abort.signal.aborted) failure = this.#failure(toAppError(thrown));
    }
    await this.#finish(end, failure);
  }

  #stop(reason: StopReason): void {
    this.#stopReason ??= reason;
    this.#abort.abort();
  }

  async #prepare(): Promise<Prepared> {
    const { question } = this.#record;
    const { state, book } = this.#options;
    const { source, channelId, parentChannelId } = question.where;
    const files = await readQuestionFiles(question.files, this.#texts, this.#abort.signal);
    if ("refusal" in files) return files;
    const [settings, above, marks, messages, models] = await this.#unlessStopped(
      Promise.all([
        state.channelSettings(source, channelId),
        parentChannelId === undefined ? {} : state.channelSettings(source, parentChannelId),
        state.forgottenMarks(source, channelId),
        question.history(),
        this.#options.models(),
      ]),
    );
    const { model: channelModel, persona } = { ...above, ...settings };
    const model = chooseModel(models, question.model, channelModel ?? this.#options.defaultModel);
    const history = withoutForgotten(book.conversationOf(messages), question.asker.id, marks);
    const text = [question.text, files.text].filter((part) => part !== "").join("\n\n");
    return {
      model: model.id,
      converse: (budgetShare) =>
        buildConversation({
          model: model.id,
          history,
          question: text,
          asker: question.asker,
          userId: `${source}:${this.#options.ledgerPrefix}${question.asker.id}`,
          budgetShare,
          ...(persona === undefined ? {} : { persona }),
          ...(model.contextLength === undefined ? {} : { contextLength: model.contextLength }),
        }),
    };
  }

  /** Stop must work while something that cannot be cancelled hangs. */
  async #unlessStopped<Value>(work: Promise<Value>): Promise<Value> {
    const { signal } = this.#abort;
    let stop = () => {};
    const stopped = new Promise<never>((_, reject) => {
      stop = () => reject(new AppError("engine_unavailable", "The question was stopped before it was asked."));
      if (signal.aborted) stop();
      else signal.addEventListener("abort", stop, { once: true });
    });
    try {
      return await Promise.race([work, stopped]);
    } finally {
      signal.removeEventListener("abort", stop);
    }
  }

  async #converse({ converse }: Exclude<Prepared, { refusal: string }>): Promise<TerminalChatEvent | undefined> {
    let end: TerminalChatEvent | undefined;
    for (const share of budgetShares) {
      const { request, historyCount } = converse(share);
      this.#historyCount = historyCount;
      const seed = this.#options.seed;
      end = await this.#listen({
        ...request,
        ...(seed === undefined ? {} : { seed, temperature: regenerateTemperature }),
      });
      const tooLong = end?.type === "error" && end.error.code === "context_length_exceeded";
      if (!tooLong || historyCount === 0) break;
    }
    return end;
  }

  async #listen(request: Conversation["request"]): Promise<TerminalChatEvent | undefined> {
    for await (const event of this.#options.engine.chat(request, { signal: this.#abort.signal })) {
      if (isTerminal(event)) return event;
      await this.#hear(event);
    }
    return undefined;
  }

  #waiting({ position, estimatedWaitMs, preparing }: Extract<ChatEvent, { type: "queued" }>): string {
    if (preparing !== undefined) return this.#texts.preparing(preparing.step, preparing.share);
    const waitMs = estimatedWaitMs ?? this.#options.waits.estimate(position);
    return this.#texts.queued(position, waitMs === undefined ? undefined : Math.ceil(waitMs / 1000));
  }

  async #hear(event: Exclude<ChatEvent, TerminalChatEvent>): Promise<void> {
    if (event.type === "queued") {
      this.#status = this.#waiting(event);
      this.#show(true);
    } else if (event.type === "start") {
      this.#producer = event.producer;
      this.#status = this.#texts.thinking;
      this.#show();
    } else if (event.type === "text" || event.type === "reasoning") {
      if (event.type === "text") this.#text += event.text;
      else this.#reasoning += event.text;
      this.#show();
    }
  }

  #show(hurry = false): void {
    const render = () => this.#render({ ended: false, notes: [], buttons: this.#buttons("running") });
    this.#writer.show(render, hurry);
  }

  #buttons(phase: "running" | "answered" | "failed"): ChatButton[] {
    return answerButtons(this.#record.id, phase, this.#texts);
  }

  #render(view: Pick<ReplyView, "ended" | "notes" | "buttons" | "failure">) {
    const { question, id } = this.#record;
    const whole = { text: this.#text, reasoning: this.#reasoning, status: this.#status, ...view };
    const quoted = question.quote === undefined ? whole : { ...whole, quote: question.quote };
    return renderReply(quoted, this.#place.platform, {
      texts: this.#texts,
      reasoning: this.#options.reasoning,
      fileName: `answer-${id}.md`,
    });
  }

  async #finish(end: TerminalChatEvent | undefined, failure: string | undefined): Promise<void> {
    const { waits, logger } = this.#options;
    const record = this.#record;
    const answer = partReasoning(this.#text, true).answer.trim();
    if (end?.type === "finish") {
      record.text = answer;
      record.timings = end.timings;
      waits.learn(end.timings);
    } else if (this.#stopReason === "stopped" || this.#stopReason === "reply_limit") {
      // What was read before Stop was pressed is part of the conversation.
      record.text = answer;
    }
    if (this.#producer !== undefined) record.producer = this.#producer;
    this.#status = this.#stopNote() ?? this.#texts.emptyAnswer;
    const notes = this.#notes(end, answer !== "");
    const phase = failure !== undefined || answer === "" ? "failed" : "answered";
    const restartOrGone = this.#stopReason === "restart" || this.#stopReason === "question_deleted";
    const buttons = restartOrGone ? [] : this.#buttons(phase);
    const aborted = this.#stopReason !== undefined;
    const last = aborted || failure === undefined ? {} : { failure };
    // Nothing can be stopped any more, though the last writes may still take a moment.
    delete record.stop;
    this.#options.onEnded?.(record);
    await this.#writer.finish(this.#render({ ended: true, notes, buttons, ...last }));
    if (this.#writer.lost === "blocked") await this.#say(this.#failed(this.#texts.blockedByPlatform));
    logger.info("answer ended", {
      requestId: record.id,
      source: record.question.where.source,
      end: this.#stopReason ?? end?.type ?? "refused",
      ...(this.#writer.lost === undefined ? {} : { lost: this.#writer.lost }),
    });
  }

  #stopNote(): string | undefined {
    const texts = this.#texts;
    if (this.#stopReason === "stopped") return texts.stopped;
    if (this.#stopReason === "question_deleted") return texts.questionDeleted;
    if (this.#stopReason === "reply_limit") return texts.cutAtReplyLimit;
    if (this.#stopReason === "restart") return texts.interrupted;
    return undefined;
  }

  /** @param hasText without text the stop note is the text */
  #notes(end: TerminalChatEvent | undefined, hasText: boolean): string[] {
    const texts = this.#texts;
    const rate = end?.timings?.completionTokensPerSecond;
    const stopNote = this.#stopNote();
    return [
      ...(stopNote === undefined || !hasText ? [] : [stopNote]),
      ...(end?.type === "finish" && end.finishReason === "length" ? [texts.cutAtTokenLimit] : []),
      ...(this.#producer === undefined ? [] : [this.#producer.model]),
      ...(this.#producer?.quantization === undefined ? [] : [this.#producer.quantization]),
      ...(rate === undefined ? [] : [texts.tokensPerSecond(rate >= 100 ? rate.toFixed(0) : rate.toFixed(1))]),
      ...(this.#historyCount === 0 ? [] : [texts.usingLastMessages(this.#historyCount)]),
    ];
  }

  #failed(sentence: string): string {
    return this.#texts.failure(sentence, this.#record.id);
  }

  /** The line for the user; the details are for the log. */
  #failure(error: AppError): string {
    const level = error.code === "internal" ? "error" : "warn";
    const facts = { requestId: this.#record.id, code: error.code, error: error.message };
    this.#options.logger[level]("a question was not answered", {
      ...facts,
      ...(error.cause instanceof Error ? { cause: error.cause.stack ?? error.cause.message } : {}),
    });
    const { locale } = this.#record.question;
    return this.#failed(asCalled(errorSentence(error, locale), locale, this.#place.platform.commands));
  }

  /** A last word that must not fail anything. */
  async #say(text: string): Promise<void> {
    await this.#place.post({ text, buttons: [] }).catch(() => {});
  }
}

/**
 * @param wanted named with the question: must exist
 * @param preferred of the channel or the settings: used when it exists
 * @throws AppError model_not_found, or engine_unavailable when there is no model at all
 */
export function chooseModel(
  models: readonly ModelListing[],
  wanted: string | undefined,
  preferred: string | undefined,
): ModelListing {
  if (wanted !== undefined) {
    const found = findModel(models, wanted);
    if (found !== undefined) return found;
    const known = models.map((model) => model.id).join(", ");
    throw new AppError("model_not_found", `There is no model ${wanted}; known are: ${known}.`, { param: "model" });
  }
  const chosen =
    (preferred === undefined ? undefined : findModel(models, preferred)) ??
    models.find((model) => model.loaded) ??
    models[0];
  if (chosen === undefined) throw new AppError("engine_unavailable", "No engine offers a model at the moment.");
  return chosen;
}

export function findModel(models: readonly ModelListing[], name: string): ModelListing | undefined {
  const wanted = name.trim().toLowerCase();
  return models.find((model) => model.id.toLowerCase() === wanted);
}
