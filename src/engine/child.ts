/** The llama child's side of the IPC protocol: messages in, a runtime driven, messages out. */

import type { ChatRequest } from "../core/chat.ts";
import { AppError, toAppError } from "../core/errors.ts";
import { pulseIntervalMs, tokenFlushMs } from "../core/limits.ts";
import { AnswerFrames } from "./answer-frames.ts";
import type { ChildMessage, GpuChoice, LoadSettings, ParentMessage } from "./ipc.ts";
import type { TaskHooks } from "./llama-measure.ts";
import type { CountedPrompt, LoadHooks, ModelRuntime, RuntimeKind } from "./model-runtime.ts";
import { quantizeFile } from "./quantize/quantize-file.ts";
import type { ChildTask, TaskResults } from "./task.ts";

interface ChildJob<Prompt> {
  abort: AbortController;
  /** Undefined when it was refused. */
  prompt: Prompt | Promise<Prompt | undefined>;
  running: boolean;
  /** Set while the reader is slow. */
  pause?: { promise: Promise<void>; resume: () => void };
}

/** Between two words about a task's progress. */
const taskProgressMs = 200;

export class LlamaChild<Prompt extends CountedPrompt> {
  readonly #kind: RuntimeKind<Prompt>;
  readonly #send: (message: ChildMessage) => void;
  readonly #frames: AnswerFrames;
  readonly #jobs = new Map<number, ChildJob<Prompt>>();
  readonly #tasks = new Map<number, AbortController>();
  readonly #hooks: LoadHooks;
  #runtime: ModelRuntime<Prompt> | undefined;
  #pulse: NodeJS.Timeout | undefined;

  constructor(kind: RuntimeKind<Prompt>, send: (message: ChildMessage) => void) {
    this.#kind = kind;
    this.#send = send;
    this.#frames = new AnswerFrames((frames) => send({ type: "texts", frames }), tokenFlushMs);
    this.#hooks = {
      log: (level, message) => send({ type: "log", level, message }),
      gpuUnusable: (backend) => send({ type: "gpu_unusable", backend }),
      helper: (pid) => send({ type: "helper", pid }),
    };
  }

  /** Resolves when the message is dealt with; `stop` when everything is freed. */
  async receive(message: ParentMessage): Promise<void> {
    switch (message.type) {
      case "load":
        return await this.#load(message.settings, message.templateMark);
      case "probe":
        return await this.#probe(message.gpu);
      case "task":
        return await this.#task(message.id, message.task);
      case "admit":
        return this.#admit(message.id, message.request);
      case "run":
        return await this.#run(message.id);
      case "cancel":
        return this.#cancel(message.id);
      case "pause":
        return this.#setPaused(message.id, true);
      case "resume":
        return this.#setPaused(message.id, false);
      case "stop":
        return await this.#stop();
    }
  }

  async #load(settings: LoadSettings, templateMark: string | undefined): Promise<void> {
    this.#startPulse();
    try {
      this.#runtime = await this.#kind.load(settings, { ...this.#hooks, templateMark });
      this.#send({ type: "ready", model: this.#runtime.facts, templateMark: this.#runtime.templateMark });
    } catch (thrown) {
      this.#send({ type: "load_failed", error: toAppError(thrown).toFacts() });
    }
  }

  async #probe(gpu: GpuChoice): Promise<void> {
    try {
      this.#send({ type: "devices", devices: await this.#kind.probe(gpu, this.#hooks) });
    } catch (thrown) {
      this.#send({ type: "load_failed", error: toAppError(thrown).toFacts() });
    }
  }

  async #task(id: number, task: ChildTask): Promise<void> {
    const abort = new AbortController();
    this.#tasks.set(id, abort);
    this.#startPulse();
    let toldAt = 0;
    const progress = (done: number, total: number) => {
      if (performance.now() - toldAt < taskProgressMs && done < total) return;
      toldAt = performance.now();
      this.#send({ type: "task_progress", id, done, total });
    };
    try {
      const result = await this.#carryOut(task, { signal: abort.signal, progress });
      this.#send({ type: "task_done", id, result });
    } catch (thrown) {
      this.#send({ type: "task_failed", id, error: toAppError(thrown).toFacts() });
    } finally {
      this.#tasks.delete(id);
    }
  }

  async #carryOut(task: ChildTask, hooks: TaskHooks): Promise<TaskResults[ChildTask["kind"]]> {
    if (task.kind === "quantize") {
      const { signal, progress: onProgress } = hooks;
      return await quantizeFile(task.source, task.target, task.quantization, { signal, onProgress });
    }
    if (this.#runtime === undefined) throw new Error("a task came before the model was loaded");
    const { measure, score, embed, rerank } = this.#runtime;
    if (task.kind === "embed") {
      if (embed === undefined) throw writesText("makes no embeddings");
      return await embed.call(this.#runtime, task, hooks);
    }
    if (task.kind === "rerank") {
      if (rerank === undefined) throw writesText("is no reranker");
      return await rerank.call(this.#runtime, task, hooks);
    }
    if (measure === undefined || score === undefined) {
      throw new AppError("invalid_request", "Only node-llama-cpp measures models; set SNUG_BACKEND=node-llama-cpp.");
    }
    return task.kind === "measure"
      ? await measure.call(this.#runtime, task, hooks)
      : await score.call(this.#runtime, task, hooks);
  }

  #admit(id: number, request: ChatRequest): void {
    const abort = new AbortController();
    try {
      if (this.#runtime === undefined) throw new Error("a chat came before the model was loaded");
      const prompt = this.#runtime.admit(request);
      // One that is counted at once is in hand before the next message, which may be `run`.
      if (!(prompt instanceof Promise)) this.#send({ type: "admitted", id, promptTokens: prompt.promptTokens });
      this.#jobs.set(id, {
        abort,
        prompt: prompt instanceof Promise ? this.#admitLater(id, prompt) : prompt,
        running: false,
      });
    } catch (thrown) {
      this.#refuse(id, thrown);
    }
  }

  async #admitLater(id: number, counted: Promise<Prompt>): Promise<Prompt | undefined> {
    try {
      const prompt = await counted;
      this.#send({ type: "admitted", id, promptTokens: prompt.promptTokens });
      return prompt;
    } catch (thrown) {
      this.#refuse(id, thrown);
      return undefined;
    }
  }

  #refuse(id: number, thrown: unknown): void {
    this.#jobs.delete(id);
    this.#send({ type: "refused", id, error: toAppError(thrown).toFacts() });
  }

  async #run(id: number): Promise<void> {
    const job = this.#jobs.get(id);
    // Refused just before, which the parent did not know yet.
    if (job === undefined || this.#runtime === undefined) return;
    job.running = true;
    const prompt = job.prompt instanceof Promise ? await job.prompt : job.prompt;
    if (prompt === undefined) return;
    const end = await this.#runtime.answer(prompt, {
      signal: job.abort.signal,
      paused: () => job.pause?.promise,
      started: (cachedPromptTokens) => this.#send({ type: "started", id, cachedPromptTokens }),
      progress: (promptTokensDone) => this.#send({ type: "progress", id, promptTokensDone }),
      token: (pieces, tokenCount) => this.#frames.add(id, pieces, tokenCount),
    });
    this.#jobs.delete(id);
    this.#frames.end(id);
    this.#send({ type: "ended", id, ...end });
  }

  /** A running answer ends by itself at its next look at the signal; one that waits is just forgotten. */
  #cancel(id: number): void {
    this.#tasks.get(id)?.abort();
    const job = this.#jobs.get(id);
    if (job === undefined) return;
    job.abort.abort();
    job.pause?.resume();
    if (!job.running) this.#jobs.delete(id);
  }

  #setPaused(id: number, paused: boolean): void {
    const job = this.#jobs.get(id);
    if (job === undefined) return;
    job.pause?.resume();
    delete job.pause;
    if (!paused || job.abort.signal.aborted) return;
    let resume = () => {};
    const promise = new Promise<void>((resolve) => {
      resume = resolve;
    });
    job.pause = { promise, resume };
  }

  #startPulse(): void {
    this.#pulse ??= setInterval(async () => {
      const memory = (await this.#runtime?.sampleMemory()) ?? { rssBytes: process.memoryUsage.rss() };
      this.#send({ type: "pulse", memory });
    }, pulseIntervalMs);
  }

  async #stop(): Promise<void> {
    clearInterval(this.#pulse);
    for (const job of this.#jobs.values()) job.abort.abort();
    for (const abort of this.#tasks.values()) abort.abort();
    await this.#runtime?.dispose();
  }
}

function writesText(what: string): AppError {
  const message = `This model writes text and ${what}; name a model made for that.`;
  return new AppError("invalid_request", message, { param: "model" });
}
