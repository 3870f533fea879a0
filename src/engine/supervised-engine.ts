/** A line of requests in front of a supervised llama child: who is told what, and when. */
import type { ChatEvent, ChatRequest, Producer } from "../core/chat.ts";
import type { DeltaRelay } from "../core/delta-relay.ts";
import { AppError, toAppError } from "../core/errors.ts";
import { drainMsMax, pulseIntervalMs } from "../core/limits.ts";
import type { ChatTurn, EngineHealth, ModelListing } from "../core/ports.ts";
import { claimOfChat } from "../core/service-terms.ts";
import type { Embeddings, EmbeddingsRequest, Ranking, RerankRequest } from "../core/vectors.ts";
import { ChatJob } from "./chat-job.ts";
import { unavailableBecause } from "./client-reason.ts";
import { listingOf, producerOf } from "./engine-listing.ts";
import { EngineMeter } from "./engine-meter.ts";
import { cut, silent, stopping, unread, waitedTooLong } from "./engine-refusals.ts";
import type { ChildMessage, LoadedModel, LoadSettings } from "./ipc.ts";
import type { EngineLimits, EngineStatus, LocalEngine, LocalEngineOptions } from "./local-engine.ts";
import { Scheduler } from "./scheduler.ts";
import { Supervisor } from "./supervisor.ts";
import { VectorDesk } from "./vector-desk.ts";
import { embedAt, rerankAt } from "./vector-requests.ts";

export class SupervisedEngine implements LocalEngine {
  readonly #options: LocalEngineOptions;
  readonly #limits: EngineLimits;
  #slots: number;
  readonly #scheduler: Scheduler;
  readonly #supervisor: Supervisor;
  readonly #jobs = new Map<number, ChatJob>();
  readonly #vectors: VectorDesk;
  readonly #meter = new EngineMeter(() => performance.now());
  #nextId = 1;
  #draining = false;
  #watch: NodeJS.Timeout | undefined;
  #settleStart: { resolve(model: LoadedModel): void; reject(error: AppError): void } | undefined;
  #wakeIdle = () => {};

  constructor(options: LocalEngineOptions, settings: LoadSettings, limits: EngineLimits) {
    this.#options = options;
    this.#limits = limits;
    this.#slots = settings.sequenceCount;
    this.#scheduler = new Scheduler({
      slots: this.#slots,
      queueMax: this.#limits.queueRequestsMax,
      waitMsMax: this.#limits.queueWaitMsMax,
      clock: options.clock,
    });
    this.#scheduler.setOpen(false);
    this.#vectors = new VectorDesk({
      scheduler: this.#scheduler,
      clock: options.clock,
      nextId: () => this.#nextId++,
      send: (message) => this.#supervisor.send(message),
      waitedTooLong: () => waitedTooLong(this.#limits.queueWaitMsMax),
      onIdle: () => this.#wakeWhenIdle(),
    });
    this.#supervisor = new Supervisor({
      program: options.program,
      settings,
      logger: options.logger,
      ...(options.times === undefined ? {} : { times: options.times }),
      ...(options.verify === undefined ? {} : { verify: options.verify }),
      stepDown: (failed, reason) => this.#stepDown(failed, reason),
      onMessage: (message) => this.#receive(message),
      onReady: (model) => this.#childReady(model),
      onDown: (error) => this.#childDown(error),
    });
  }

  async start(): Promise<LoadedModel> {
    const started = new Promise<LoadedModel>((resolve, reject) => {
      this.#settleStart = { resolve, reject };
    });
    this.#watch = setInterval(() => this.#endSilences(), this.#options.times?.pulseIntervalMs ?? pulseIntervalMs);
    this.#supervisor.start();
    return await started;
  }

  async *chat(request: ChatRequest, { signal, relay }: ChatTurn): AsyncGenerator<ChatEvent, void, undefined> {
    const job = this.#createJob(request, relay);
    const abort = () => this.#cancel(job);
    signal.addEventListener("abort", abort, { once: true });
    try {
      if (signal.aborted) abort();
      else this.#accept(job);
      yield* job.events();
    } finally {
      signal.removeEventListener("abort", abort);
      // Left early: nobody reads on.
      abort();
    }
  }

  async embed(request: EmbeddingsRequest, { signal }: { signal: AbortSignal }): Promise<Embeddings> {
    this.#requireAnswerable(request);
    return await embedAt(this.#vectors, request, signal, () => this.#producer());
  }

  async rerank(request: RerankRequest, { signal }: { signal: AbortSignal }): Promise<Ranking> {
    this.#requireAnswerable(request);
    return await rerankAt(this.#vectors, request, signal, () => this.#producer());
  }

  async models(): Promise<ModelListing[]> {
    const { model, state } = this.#supervisor;
    return [listingOf(this.#options.model, model, state === "ready")];
  }

  async health(): Promise<EngineHealth> {
    return this.status().health;
  }

  status(): EngineStatus {
    const { state, reason, model, memory, pid, settings } = this.#supervisor;
    const health: EngineHealth = {
      state: this.#draining ? "stopped" : state,
      ...(reason === undefined ? {} : { reason: reason.message }),
      active: this.#scheduler.active,
      queued: this.#scheduler.queued,
      slots: this.#slots,
    };
    const { expectedWaitMs } = this.#scheduler;
    return {
      health,
      ...(expectedWaitMs === undefined ? {} : { expectedWaitMs }),
      ...(model === undefined ? {} : { model }),
      ...(memory === undefined ? {} : { memory }),
      ...(pid === undefined ? {} : { childPid: pid }),
      settings,
      ladderSteps: this.#options.ladder?.steps ?? [],
      totals: this.#meter.totals,
      tokensPerSecond: this.#meter.tokensPerSecond,
    };
  }

  async stop({ drainMs = drainMsMax }: { drainMs?: number } = {}): Promise<void> {
    this.#draining = true;
    this.#settleStart?.reject(stopping());
    for (const job of [...this.#jobs.values()]) if (job.phase === "waiting") this.#fail(job, stopping());
    this.#vectors.refuse(stopping(), { running: false });
    await this.#idle(drainMs);
    for (const job of [...this.#jobs.values()]) this.#fail(job, cut());
    this.#vectors.refuse(cut(), { running: true });
    this.#wakeIdle();
    clearInterval(this.#watch);
    await this.#supervisor.stop();
  }

  #createJob(request: ChatRequest, relay: DeltaRelay | undefined): ChatJob {
    const id = this.#nextId++;
    return new ChatJob({
      id,
      request,
      relay,
      clock: this.#options.clock,
      eventsMax: this.#limits.eventsBufferedMax,
      onFull: () => this.#supervisor.send({ type: "pause", id }),
      onDrained: () => this.#supervisor.send({ type: "resume", id }),
    });
  }

  /** Into the line, or refused at once. */
  #accept(job: ChatJob): void {
    try {
      this.#requireAnswerable(job.request);
      this.#scheduler.requireRoom();
    } catch (thrown) {
      job.failed(toAppError(thrown));
      this.#release(job);
      return;
    }
    this.#jobs.set(job.id, job);
    // Counted while it waits, so that what is too long is refused now and not when its turn comes.
    if (this.#supervisor.state === "ready") this.#admit(job);
    this.#enterLine(job);
  }

  #enterLine(job: ChatJob): void {
    job.ticket = this.#scheduler.enter({
      ...claimOfChat(job.request),
      started: () => {
        this.#noteCompany(job);
        job.run();
        this.#supervisor.send({ type: "run", id: job.id });
      },
      moved: (position, estimatedWaitMs) => {
        job.moved(position, estimatedWaitMs);
        if (job.counted || this.#supervisor.state !== "ready") job.announcePlace();
      },
      expired: () => this.#fail(job, waitedTooLong(this.#limits.queueWaitMsMax)),
    });
  }

  /** Answers that run at the same time slow each other down. */
  #noteCompany(newcomer: ChatJob): void {
    for (const job of this.#jobs.values()) {
      if (job === newcomer || job.phase !== "running") continue;
      job.disturbed = true;
      newcomer.disturbed = true;
    }
  }

  #admit(job: ChatJob): void {
    job.unacknowledged = true;
    this.#supervisor.send({ type: "admit", id: job.id, request: job.request });
  }

  #requireAnswerable(request: { model: string }): void {
    const { id } = this.#options.model;
    if (request.model.toLowerCase() !== id.toLowerCase()) {
      const message = `This engine does not have the model ${JSON.stringify(request.model)}; it has ${JSON.stringify(id)}.`;
      throw new AppError("model_not_found", message, { param: "model" });
    }
    if (this.#draining) throw stopping();
    if (this.#supervisor.state === "failed") throw this.#unavailable();
  }

  #receive(message: ChildMessage): void {
    if (message.type === "texts") {
      for (const [id, tokenCount, piece] of message.frames) {
        this.#meter.tokens(tokenCount);
        this.#jobs.get(id)?.wrote(tokenCount, piece);
      }
      return;
    }
    if (this.#vectors.receive(message)) return;
    const job = "id" in message ? this.#jobs.get(message.id) : undefined;
    if (job === undefined) return;
    switch (message.type) {
      case "admitted":
        job.admitted(message.promptTokens);
        job.announcePlace();
        return;
      case "refused":
        job.failed(AppError.fromFacts(message.error));
        this.#release(job);
        return;
      case "started":
        job.started(message.cachedPromptTokens, this.#producer());
        return;
      case "progress":
        job.sign();
        return;
      case "ended":
        this.#ended(job, message);
        return;
    }
  }

  #ended(job: ChatJob, message: Extract<ChildMessage, { type: "ended" }>): void {
    const { end } = message;
    if (end.type === "finish") this.#supervisor.noteHealthy();
    this.#meter.answered(end.type, message.usage);
    if (end.type === "finish" && job.undisturbed) {
      const { usage, timings } = message;
      this.#options.onUndisturbed?.({ usage, timings, settings: this.#supervisor.settings });
    }
    job.ended(message);
    this.#release(job);
    if (end.type === "error" && end.error.code === "engine_out_of_memory") {
      this.#supervisor.shrink(AppError.fromFacts(end.error));
    }
  }

  #stepDown(failed: LoadSettings, reason: AppError): LoadSettings | undefined {
    const { ladder, clock, logger } = this.#options;
    const next = ladder?.next(failed, reason.message, clock.now());
    const step = ladder?.steps.at(-1);
    if (next === undefined || step === undefined) return undefined;
    logger.warn("The model is loaded with smaller settings.", { ...step });
    return next;
  }

  /** A new child: what waits is told to it again, then the line moves. */
  #childReady(model: LoadedModel): void {
    this.#slots = this.#supervisor.settings.sequenceCount;
    this.#scheduler.setSlots(this.#slots);
    for (const job of this.#jobs.values()) this.#admit(job);
    this.#scheduler.setOpen(true);
    this.#settleStart?.resolve(model);
  }

  /** Answers that had begun are lost with the child; everybody else waits for the next one, if one will follow. */
  #childDown(error: AppError): void {
    this.#scheduler.setOpen(false);
    const failed = this.#supervisor.state === "failed";
    for (const job of [...this.#jobs.values()]) {
      if (job.aborted) job.cancelled();
      else if (failed && !job.begun) job.failed(this.#unavailable());
      else if (failed || job.begun || !job.mayTryAgain()) job.failed(error);
      if (job.closed) this.#release(job);
      else if (job.phase === "running") this.#waitAgain(job);
    }
    this.#vectors.childDown(error, failed ? this.#unavailable() : undefined);
    if (failed) this.#settleStart?.reject(this.#supervisor.reason ?? error);
  }

  #waitAgain(job: ChatJob): void {
    job.wait();
    try {
      this.#enterLine(job);
    } catch (thrown) {
      this.#fail(job, toAppError(thrown));
    }
  }

  #cancel(job: ChatJob): void {
    if (job.aborted || job.phase === "ended") return;
    job.aborted = true;
    this.#supervisor.send({ type: "cancel", id: job.id });
    // A running one ends when the child has let go of it, with the exact count.
    if (job.phase === "running") return;
    job.cancelled();
    this.#release(job);
  }

  /** The reader is told now; the slot is free when the child has let go. */
  #fail(job: ChatJob, error: AppError): void {
    job.failed(error);
    this.#supervisor.send({ type: "cancel", id: job.id });
    if (job.phase !== "running") this.#release(job);
  }

  #release(job: ChatJob): void {
    job.phase = "ended";
    this.#jobs.delete(job.id);
    job.ticket?.leave();
    this.#wakeWhenIdle();
  }

  #wakeWhenIdle(): void {
    if (this.#jobs.size === 0 && this.#vectors.size === 0) this.#wakeIdle();
  }

  #endSilences(): void {
    if (this.#vectors.silenceMs > this.#limits.tokenSilenceMsMax)
      this.#supervisor.replace(silent(this.#limits.tokenSilenceMsMax));
    for (const job of [...this.#jobs.values()]) {
      if (job.phase !== "running") continue;
      const { readerSilenceMsMax, tokenSilenceMsMax } = this.#limits;
      if (job.paused && job.silenceMs > readerSilenceMsMax && !job.closed) {
        this.#fail(job, unread());
      } else if (!job.paused && job.silenceMs > tokenSilenceMsMax) {
        this.#supervisor.replace(silent(this.#limits.tokenSilenceMsMax));
      }
    }
  }

  async #idle(waitMs: number): Promise<void> {
    if (this.#jobs.size === 0 && this.#vectors.size === 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, waitMs);
      // A second, more impatient stop must not leave the first one waiting.
      const wakeOthers = this.#wakeIdle;
      this.#wakeIdle = () => {
        clearTimeout(timer);
        resolve();
        wakeOthers();
      };
    });
  }

  /** The whole reason is in the log and in `health()`. */
  #unavailable(): AppError {
    const { settings, reason } = this.#supervisor;
    return unavailableBecause(reason, [settings.modelPath, this.#options.model.path]);
  }

  #producer(): Producer {
    return producerOf(this.#options, this.#supervisor.model);
  }
}
