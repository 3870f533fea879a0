/** One comparison in a chat: a message that tells how it is getting on and ends as the report, with a button to end it. */
import { AppError, toAppError } from "../core/errors.ts";
import { compareEditMs, compareLookMs } from "../core/limits.ts";
import type { ChatPlace, ChatPost, Logger, PostedMessage, Timer } from "../core/ports.ts";
import { drawComparison } from "../fit/compare-picture.ts";
import { compareStepLabel, renderCompareChat } from "../fit/compare-render.ts";
import type { CompareJob, CompareRequest, ComparisonReport } from "../fit/compare-report.ts";
import { comparisonButtons } from "./buttons.ts";
import { asCalled } from "./commands.ts";
import type { DrawPng } from "./fits-answer.ts";
import { errorSentence, TEXTS } from "./locale/locale.ts";
import type { BotLocale, Texts } from "./locale/texts.ts";

/** Comparisons on the engines behind the API. All reject with `AppError`. */
export interface ComparePort {
  start(request: CompareRequest): Promise<CompareJob>;
  look(id: string): Promise<CompareJob>;
  /** Resolves when nothing of it is left. */
  cancel(id: string): Promise<CompareJob>;
}

export interface CompareRunOptions {
  /** Of the run, for its button and for the log. */
  id: string;
  request: CompareRequest;
  locale: BotLocale;
  port: ComparePort;
  drawPng?: DrawPng | undefined;
  timer: Timer;
  logger: Logger;
}

/** Looks that may fail in a row: the API may be restarting. */
const failuresMax = 5;

export class CompareRun {
  readonly #options: CompareRunOptions;
  readonly #stopped = new AbortController();
  #place: ChatPlace;
  #message: PostedMessage | undefined;
  #shown = "";
  #shownAt = 0;

  constructor(place: ChatPlace, options: CompareRunOptions) {
    this.#place = place;
    this.#options = options;
  }

  get #texts(): Texts {
    return TEXTS[this.#options.locale];
  }

  stop(): void {
    this.#stopped.abort();
  }

  /** Never rejects; resolves when the last word is written or can no longer be. */
  async run(): Promise<void> {
    const { id, port, request, logger } = this.#options;
    let job: CompareJob | undefined;
    try {
      job = await port.start(request);
      await this.#show(this.#texts.compareBegins(job.model), comparisonButtons(id, this.#texts));
      await this.#end(await this.#follow(job));
    } catch (thrown) {
      const error = toAppError(thrown);
      logger.warn("a comparison failed", { requestId: id, code: error.code, error: error.message });
      // Nobody would see its end.
      if (job !== undefined) await port.cancel(job.id).catch(() => {});
      await this.#endWith({ text: this.#texts.failure(this.#sentence(error), id) });
    }
  }

  async #follow(started: CompareJob): Promise<CompareJob> {
    const { port, timer } = this.#options;
    let job = started;
    let failures = 0;
    while (job.state === "running") {
      await timer.wait(compareLookMs, this.#stopped.signal);
      if (this.#stopped.signal.aborted) return await port.cancel(job.id);
      try {
        job = await port.look(job.id);
        failures = 0;
      } catch (thrown) {
        const { code } = toAppError(thrown);
        if (code === "not_found" || ++failures >= failuresMax) throw thrown;
        continue;
      }
      await this.#progress(job);
    }
    return job;
  }

  async #progress({ model, progress }: CompareJob): Promise<void> {
    const { timer, locale } = this.#options;
    if (progress === undefined || timer.now() - this.#shownAt < compareEditMs) return;
    const label = compareStepLabel(progress, planLocale(locale));
    const step = this.#texts.compareStep(label, Math.floor(progress.share * 100));
    await this.#show(`${this.#texts.compareBegins(model)}\n${step}`);
  }

  async #end({ state, report, error }: CompareJob): Promise<void> {
    if (report !== undefined) return await this.#report(report);
    if (state === "cancelled") return await this.#endWith({ text: this.#texts.compareCancelled });
    throw error === undefined
      ? new AppError("internal", "A comparison ended without a word.")
      : AppError.fromFacts(error);
  }

  async #report(report: ComparisonReport): Promise<void> {
    const { locale, drawPng } = this.#options;
    const { messageCharsMax } = this.#place.platform.limits;
    const text = renderCompareChat(report, planLocale(locale), messageCharsMax);
    const bytes = await drawPng?.((drawn) => drawComparison(report, drawn, "light"), planLocale(locale));
    const description = this.#texts.comparePicture;
    await this.#endWith({
      text,
      ...(bytes === undefined
        ? {}
        : { files: [{ name: "compare.png", contentType: "image/png", bytes, description }] }),
    });
  }

  /** The table's sentence, and what the engine said of its own accord where that helps more. */
  #sentence(error: AppError): string {
    const { locale } = this.#options;
    const said = asCalled(errorSentence(error, locale), locale, this.#place.platform.commands);
    return error.code === "internal" || said === error.message ? said : `${said} (${error.message})`;
  }

  async #show(text: string, buttons?: ChatPost["buttons"]): Promise<void> {
    if (text === this.#shown) return;
    this.#shownAt = this.#options.timer.now();
    try {
      await this.#write({ text, ...(buttons === undefined ? {} : { buttons }) });
      this.#shown = text;
    } catch (thrown) {
      this.#options.logger.info("a comparison's progress was not shown", { error: String(thrown) });
    }
  }

  async #write(post: ChatPost): Promise<void> {
    if (this.#message === undefined) this.#message = await this.#place.post(post);
    else await this.#message.edit(post);
  }

  /** Into the message, or where that has gone or expired into a new one. */
  async #endWith(post: ChatPost): Promise<void> {
    const { logger } = this.#options;
    try {
      await this.#write({ ...post, buttons: [] });
    } catch (thrown) {
      logger.info("a comparison's message could not be changed", { error: String(thrown) });
      const next = await this.#place.successor().catch(() => undefined);
      await (next ?? this.#place).post(post).catch((failed) => {
        logger.warn("a comparison's report could not be shown", { error: String(failed) });
      });
    }
  }
}

/** The reports speak the planner's two languages. */
function planLocale(locale: BotLocale): "en" | "zh" {
  return locale === "en" ? "en" : "zh";
}
