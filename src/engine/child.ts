/** The llama child's side of the IPC protocol: messages in, a runtime driven, messages out. */

import type { ChatRequest } from "../core/chat.ts";
import { toAppError } from "../core/errors.ts";
import { pulseIntervalMs, tokenFlushMs } from "../core/limits.ts";
import { AnswerFrames } from "./answer-frames.ts";
import type { ChildMessage, GpuChoice, LoadSettings, ParentMessage } from "./ipc.ts";
import { LlamaRuntime, type Prompt } from "./llama.ts";
import { type LoadHooks, probeDevices } from "./llama-load.ts";

interface ChildJob {
  abort: AbortController;
  prompt: Prompt;
  running: boolean;
  /** Set while the reader is slow. */
  pause?: { promise: Promise<void>; resume: () => void };
}

export class LlamaChild {
  readonly #send: (message: ChildMessage) => void;
  readonly #frames: AnswerFrames;
  readonly #jobs = new Map<number, ChildJob>();
  readonly #hooks: LoadHooks;
  #runtime: LlamaRuntime | undefined;
  #pulse: NodeJS.Timeout | undefined;

  constructor(send: (message: ChildMessage) => void) {
    this.#send = send;
    this.#frames = new AnswerFrames((frames) => send({ type: "texts", frames }), tokenFlushMs);
    this.#hooks = {
      log: (level, message) => send({ type: "log", level, message }),
      gpuUnusable: (backend) => send({ type: "gpu_unusable", backend }),
    };
  }

  /** Resolves when the message is dealt with; `stop` when everything is freed. */
  async receive(message: ParentMessage): Promise<void> {
    switch (message.type) {
      case "load":
        return await this.#load(message.settings);
      case "probe":
        return await this.#probe(message.gpu);
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

  async #load(settings: LoadSettings): Promise<void> {
    this.#startPulse();
    try {
      this.#runtime = await LlamaRuntime.load(settings, this.#hooks);
      this.#send({ type: "ready", model: this.#runtime.facts });
    } catch (thrown) {
      this.#send({ type: "load_failed", error: toAppError(thrown).toFacts() });
    }
  }

  async #probe(gpu: GpuChoice): Promise<void> {
    try {
      this.#send({ type: "devices", devices: await probeDevices(gpu, this.#hooks) });
    } catch (thrown) {
      this.#send({ type: "load_failed", error: toAppError(thrown).toFacts() });
    }
  }

  #admit(id: number, request: ChatRequest): void {
    try {
      if (this.#runtime === undefined) throw new Error("a chat came before the model was loaded");
      const prompt = this.#runtime.admit(request);
      this.#jobs.set(id, { abort: new AbortController(), prompt, running: false });
      this.#send({ type: "admitted", id, promptTokens: prompt.tokens.length });
    } catch (thrown) {
      this.#send({ type: "refused", id, error: toAppError(thrown).toFacts() });
    }
  }

  async #run(id: number): Promise<void> {
    const job = this.#jobs.get(id);
    // Refused just before, which the parent did not know yet.
    if (job === undefined || this.#runtime === undefined) return;
    job.running = true;
    const end = await this.#runtime.answer(job.prompt, {
      signal: job.abort.signal,
      paused: () => job.pause?.promise,
      started: (cachedPromptTokens) => this.#send({ type: "started", id, cachedPromptTokens }),
      progress: (promptTokensDone) => this.#send({ type: "progress", id, promptTokensDone }),
      token: (pieces) => this.#frames.add(id, pieces),
    });
    this.#jobs.delete(id);
    this.#frames.end(id);
    this.#send({ type: "ended", id, ...end });
  }

  /** A running answer ends by itself at its next look at the signal; one that waits is just forgotten. */
  #cancel(id: number): void {
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
    await this.#runtime?.dispose();
  }
}
