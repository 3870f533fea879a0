/**
 * Keeps one llama child alive: starts it, watches it, brings it back with growing delays, and gives up with a reason when
 * it cannot live. Whatever the child does, this process does not fall.
 */
import { type ChildProcess, fork } from "node:child_process";
import { availableParallelism } from "node:os";
import { AppError } from "../core/errors.ts";
import {
  childStopMsMax,
  modelLoadMsMax,
  pulseIntervalMs,
  pulsesMissedMax,
  restAfterCrashesMs,
  restartDelayMsFirst,
  restartDelayMsMax,
  restartForgivenAfterMs,
  restartsBeforeStepMin,
  restartsInARowMax,
} from "../core/limits.ts";
import type { EngineHealth, Logger } from "../core/ports.ts";
import type { ChildMessage, LoadedModel, LoadSettings, MemorySample, ParentMessage } from "./ipc.ts";
import { poolThreads } from "./threads.ts";

/** How to start a Node process that runs src/entries/llama-child. */
export interface ChildProgram {
  url: URL;
  /** Node options, e.g. `["--import", "tsx"]` to run TypeScript. */
  execArgv: readonly string[];
  /** What it is told to run, e.g. the path of a llama-server. */
  args?: readonly string[];
}

/** Times in milliseconds; tests shorten them. */
export interface SupervisorTimes {
  pulseIntervalMs: number;
  pulsesMissedMax: number;
  modelLoadMsMax: number;
  restartDelayMsFirst: number;
  restartDelayMsMax: number;
  restartForgivenAfterMs: number;
  restAfterCrashesMs: number;
  childStopMsMax: number;
}

const defaultTimes: SupervisorTimes = {
  pulseIntervalMs,
  pulsesMissedMax,
  modelLoadMsMax,
  restartDelayMsFirst,
  restartDelayMsMax,
  restartForgivenAfterMs,
  restAfterCrashesMs,
  childStopMsMax,
};

export interface SupervisorOptions {
  program: ChildProgram;
  settings: LoadSettings;
  logger: Logger;
  times?: Partial<SupervisorTimes>;
  /** Smaller settings after `settings` could not live, undefined when there are none. */
  stepDown?(settings: LoadSettings, reason: AppError): LoadSettings | undefined;
  /** Looks at a load before it serves: an error here counts as a load without room. Must not reject. */
  verify?(model: LoadedModel, settings: LoadSettings): Promise<AppError | undefined>;
  /** A message about a chat. */
  onMessage(message: ChildMessage): void;
  /** A child is loaded and listening; it knows nothing of earlier chats. */
  onReady(model: LoadedModel): void;
  /** The child is gone, and with it everything it was doing. Another follows unless the state is "failed". */
  onDown(error: AppError): void;
}

/** Last words of a dying process that are worth a log line. */
const stderrCharsMax = 2000;

export class Supervisor {
  state: EngineHealth["state"] = "loading";
  /** Why the state is "failed" or "restarting". */
  reason: AppError | undefined;
  /** Set once loaded, and kept while restarting. */
  model: LoadedModel | undefined;
  memory: MemorySample | undefined;
  readonly #options: SupervisorOptions;
  readonly #times: SupervisorTimes;
  #settings: LoadSettings;
  /** For the next child. */
  #templateMark: string | undefined;
  #child: ChildProcess | undefined;
  /** Processes of the child's that end with it. */
  #helpers: number[] = [];
  #readyAt: number | undefined;
  /** The next start is with other settings, so the end of this child is no crash to count. */
  #stepped = false;
  #crashes = 0;
  /** An answer ended well with the settings of now: they have room, whatever kills the child. */
  #proven = false;
  /** The last load ran out of memory that may just have been on its way back. */
  #waitedForMemory = false;
  /** Undefined until the child has spoken: starting Node on a busy machine is no silence. */
  #silentPulses: number | undefined;
  #timers: NodeJS.Timeout[] = [];
  #restartTimer: NodeJS.Timeout | undefined;
  /** Why we killed the child ourselves. */
  #sentence: AppError | undefined;
  #stderr = "";

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#times = { ...defaultTimes, ...options.times };
    this.#settings = options.settings;
  }

  /** What the living child was, or the next one will be, loaded with. */
  get settings(): LoadSettings {
    return this.#settings;
  }

  /** Process id of the living child. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  start(): void {
    this.#spawn();
  }

  /** To the living child; dropped when there is none, as `onDown` said or will say. */
  send(message: ParentMessage): void {
    // The callback keeps a write to a dying child from becoming an exception.
    if (this.#child?.connected) this.#child.send(message, () => {});
  }

  /** An answer ended well: the record of crashes in a row is wiped. */
  noteHealthy(): void {
    this.#crashes = 0;
    this.#proven = true;
  }

  /** An answer ran out of memory: the same settings would do it again, so the next child gets smaller ones if it can. */
  shrink(error: AppError): void {
    if (this.#child === undefined || this.#sentence !== undefined || !this.#takeStep(error)) return;
    this.#sentence = error;
    this.#stepped = true;
    this.#kill();
  }

  /** Ends a child that hangs; `error` is what its chats are told. */
  replace(error: AppError): void {
    if (this.#child === undefined || this.#sentence !== undefined) return;
    this.#options.logger.error("The model process hangs and is replaced.", { reason: error.message });
    this.#sentence = error;
    this.#kill();
  }

  /** Frees the model. Never rejects; a child that does not obey is killed. */
  async stop(): Promise<void> {
    this.state = "stopped";
    clearTimeout(this.#restartTimer);
    const child = this.#child;
    if (child === undefined) return;
    const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    const kill = setTimeout(() => this.#kill(), this.#times.childStopMsMax);
    this.send({ type: "stop" });
    await gone;
    clearTimeout(kill);
  }

  #kill(): void {
    this.#child?.kill("SIGKILL");
    this.#endHelpers();
  }

  /** A child that was killed could not do so itself. */
  #endHelpers(): void {
    for (const pid of this.#helpers.splice(0)) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // Ended by itself.
      }
    }
  }

  #spawn(): void {
    const { program, logger } = this.#options;
    const { gpu, gpuLayers, sequenceCount } = this.#settings;
    const work = { onGpu: gpu !== false && gpuLayers !== 0, sequences: sequenceCount };
    const child = fork(program.url, [...(program.args ?? [])], {
      execArgv: [...program.execArgv],
      stdio: ["ignore", "pipe", "pipe", "ipc"],
      env: {
        ...process.env,
        ...this.#settings.gpuEnvironment,
        UV_THREADPOOL_SIZE: `${poolThreads(work, availableParallelism())}`,
        // On an assertion ggml would call a debugger and hold the dying process for seconds.
        GGML_NO_BACKTRACE: "1",
      },
    });
    this.#child = child;
    this.#sentence = undefined;
    this.#stepped = false;
    this.#readyAt = undefined;
    this.#silentPulses = undefined;
    this.#stderr = "";
    child.stdout?.resume();
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-stderrCharsMax);
    });
    child.on("message", (message: ChildMessage) => this.#receive(child, message));
    child.once("error", (error) => logger.error("The model process could not be started.", { reason: error.message }));
    child.once("exit", (code, signal) => this.#exited(child, code, signal));
    // A process that never came to be has no exit.
    if (child.pid === undefined) queueMicrotask(() => this.#exited(child, null, null));
    this.#watch(child);
    this.send({ type: "load", settings: this.#settings, templateMark: this.#templateMark });
  }

  #watch(child: ChildProcess): void {
    const { pulseIntervalMs, pulsesMissedMax, modelLoadMsMax } = this.#times;
    // Counted in ticks, not by the clock: after the machine slept, one tick has passed, not hours.
    const pulse = setInterval(() => {
      if (this.#silentPulses === undefined || child !== this.#child) return;
      this.#silentPulses++;
      if (this.#silentPulses > pulsesMissedMax) {
        this.replace(new AppError("engine_timeout", "The model process stopped responding; please try again."));
      }
    }, pulseIntervalMs);
    const load = setTimeout(() => {
      if (child !== this.#child || this.#readyAt !== undefined) return;
      this.replace(new AppError("engine_timeout", `The model did not load within ${modelLoadMsMax / 1000} s.`));
    }, modelLoadMsMax);
    this.#timers = [pulse, load];
  }

  #receive(child: ChildProcess, message: ChildMessage): void {
    if (child !== this.#child || this.state === "stopped") return;
    const { logger } = this.#options;
    this.#silentPulses = 0;
    switch (message.type) {
      case "helper":
        this.#helpers.push(message.pid);
        return;
      case "pulse":
        this.memory = message.memory;
        return;
      case "log":
        logger[message.level === "error" ? "warn" : "debug"](`llama.cpp: ${message.message}`);
        return;
      case "gpu_unusable":
        logger.info("No usable GPU was found; the model runs on the CPU.", { backend: message.backend });
        this.#settings = { ...this.#settings, gpu: false };
        return;
      case "ready":
        this.#templateMark = message.templateMark;
        void this.#verified(child, message.model);
        return;
      case "load_failed":
        this.#loadFailed(AppError.fromFacts(message.error));
        return;
      default:
        this.#options.onMessage(message);
        return;
    }
  }

  async #verified(child: ChildProcess, model: LoadedModel): Promise<void> {
    const problem = await this.#options.verify?.(model, this.#settings);
    if (child !== this.#child || this.#isStopped()) return;
    if (problem === undefined) this.#ready(model);
    else this.#loadFailed(problem);
  }

  /** Asked after a pause, in which it may have changed. */
  #isStopped(): boolean {
    return this.state === "stopped";
  }

  #ready(model: LoadedModel): void {
    this.#waitedForMemory = false;
    this.#readyAt = performance.now();
    this.model = model;
    this.state = "ready";
    this.reason = undefined;
    this.#options.logger.info("The model is loaded.", { ...model });
    this.#options.onReady(model);
  }

  /** The child itself said why: trying again would end the same, except where memory is still being given back. */
  #loadFailed(error: AppError): void {
    const memory = error.code === "engine_out_of_memory";
    const mayPass = memory && this.model !== undefined && !this.#waitedForMemory;
    this.#waitedForMemory = mayPass;
    if (!mayPass) {
      this.#stepped = memory && this.#takeStep(error);
      if (!this.#stepped) this.#giveUpForNow(error);
    }
    this.#sentence = error;
    this.#kill();
  }

  #takeStep(error: AppError): boolean {
    const next = this.#options.stepDown?.(this.#settings, error);
    if (next === undefined) return false;
    this.#settings = next;
    this.#proven = false;
    return true;
  }

  #exited(child: ChildProcess, code: number | null, signal: NodeJS.Signals | null): void {
    if (child !== this.#child) return;
    for (const timer of this.#timers) clearInterval(timer);
    this.#child = undefined;
    this.memory = undefined;
    this.#endHelpers();
    if (this.state === "stopped") return;
    const cause = signal === null ? `exit code ${code ?? "unknown"}` : `signal ${signal}`;
    const loading = this.#readyAt === undefined;
    const doing = loading ? "while loading the model" : "unexpectedly";
    const error =
      this.#sentence ??
      new AppError("engine_unavailable", `The model process ended ${doing} (${cause}); please try again.`);
    this.#options.logger.error("The model process ended.", { cause, loading, stderr: this.#stderr.trim() });
    // The kernel takes the largest process when memory ends; nobody else kills one that loads.
    if (loading && signal === "SIGKILL" && this.#sentence === undefined) this.#stepped = this.#takeStep(error);
    if (this.state !== "failed") this.#planRestart(error, loading);
    this.#options.onDown(error);
  }

  #planRestart(error: AppError, loading: boolean): void {
    const { restartDelayMsFirst, restartDelayMsMax, restartForgivenAfterMs } = this.#times;
    const livedMs = this.#readyAt === undefined ? 0 : performance.now() - this.#readyAt;
    if (this.#stepped) this.#crashes = 0;
    else this.#crashes = livedMs > restartForgivenAfterMs ? 1 : this.#crashes + 1;
    this.reason = error;
    // Settings that served well are given up last: what kills the child now may be a request, or pass.
    const enough = loading || !this.#proven ? restartsBeforeStepMin : restartsInARowMax;
    if (this.#crashes >= enough && this.#takeStep(error)) this.#crashes = 1;
    if (this.#crashes >= restartsInARowMax) {
      this.#giveUpForNow(this.#tooManyCrashes(error, loading));
      return;
    }
    this.state = "restarting";
    const delay = Math.min(restartDelayMsMax, restartDelayMsFirst * 2 ** Math.max(0, this.#crashes - 1));
    this.#options.logger.warn("The model process is started again.", { delayMs: delay, crashesInARow: this.#crashes });
    this.#restartTimer = setTimeout(() => this.#spawn(), delay);
  }

  /** A model that has served will be tried again: what hinders it may pass, as a disk that is away for a while does. */
  #giveUpForNow(error: AppError): void {
    this.#fail(error);
    if (this.model === undefined) return;
    this.#restartTimer = setTimeout(() => {
      this.#crashes = 0;
      this.state = "restarting";
      this.#spawn();
    }, this.#times.restAfterCrashesMs);
  }

  #tooManyCrashes(error: AppError, loading: boolean): AppError {
    const hint = loading
      ? "llama.cpp cannot load this file on this machine; try another file, a shorter context, or the CPU."
      : "See the log for its last words.";
    const message = `The model process ended ${this.#crashes} times in a row. ${hint}`;
    return new AppError("engine_unavailable", message, { cause: error });
  }

  #fail(error: AppError): void {
    this.state = "failed";
    this.reason = error;
    this.#options.logger.error("The engine gives up.", { reason: error.message });
  }
}
