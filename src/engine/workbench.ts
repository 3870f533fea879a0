/**
 * A llama child of one's own for measuring: loaded as the engine loads it, but with no line before it, no smaller
 * settings when it fails, and no second try: what went wrong is a result too.
 */
import { type ChildProcess, fork } from "node:child_process";
import type { ChatRequest, FinishReason, Usage } from "../core/chat.ts";
import { AppError } from "../core/errors.ts";
import { childStopMsMax, modelLoadMsMax } from "../core/limits.ts";
import type { AnswerEnd, ChildMessage, LoadedModel, LoadSettings, MemorySample, ParentMessage } from "./ipc.ts";
import type { ChildProgram } from "./supervisor.ts";
import type { ChildTask, TaskResults } from "./task.ts";

export interface TaskOptions {
  signal: AbortSignal;
  onProgress?(done: number, total: number): void;
}

/** One whole answer. */
export interface BenchAnswer {
  text: string;
  finishReason: FinishReason;
  usage: Usage;
  /** From handing the request over to the first token back; nothing waits in between. */
  timeToFirstTokenMs: number;
  timings: AnswerEnd["timings"];
}

/** A child that is silent this long in the middle of a task hangs. */
const silenceMsMax = 10 * 60_000;

type Waiter = (message: ChildMessage) => boolean;

export class Workbench {
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  #nextId = 1;
  #failure: AppError | undefined;
  /** The one conversation under way: handles a message, or rejects when the child dies. */
  #waiter: { take: Waiter; fail(error: AppError): void } | undefined;
  memory: MemorySample | undefined;
  /** The most the child had resident at any look. */
  rssBytesMax = 0;
  #stderr = "";
  #complaint: string | undefined;

  constructor(program: ChildProgram, sequenceCount = 1, environment: LoadSettings["gpuEnvironment"] = {}) {
    this.#child = fork(program.url, {
      execArgv: [...program.execArgv],
      stdio: ["ignore", "pipe", "pipe", "ipc"],
      env: {
        ...process.env,
        ...environment,
        UV_THREADPOOL_SIZE: String(Math.max(4, sequenceCount + 2)),
        GGML_NO_BACKTRACE: "1",
      },
    });
    this.#child.stdout?.resume();
    this.#child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-2000);
    });
    this.#child.on("message", (message: ChildMessage) => this.#receive(message));
    this.#exited = new Promise((resolve) => {
      const gone = (why: string) => {
        const said = this.#complaint ?? this.#stderr.trim().split("\n").at(-1);
        this.#fail(new AppError("engine_unavailable", `The model process ended (${why})${said ? `: ${said}` : ""}.`));
        resolve();
      };
      this.#child.once("exit", (code, signal) => gone(signal ?? `exit code ${code ?? "unknown"}`));
      this.#child.once("error", (error) => gone(error.message));
    });
  }

  /** @throws AppError why it does not load; the signal's reason when it aborts */
  async load(settings: LoadSettings, signal: AbortSignal): Promise<LoadedModel> {
    return await this.#converse<LoadedModel>(
      signal,
      { type: "load", settings },
      (message, { done, failed }) => {
        if (message.type === "ready") done(message.model);
        else if (message.type === "load_failed") failed(AppError.fromFacts(message.error));
      },
      modelLoadMsMax,
    );
  }

  /** @throws AppError; the signal's reason when it aborts */
  async run<Kind extends ChildTask["kind"]>(
    task: Extract<ChildTask, { kind: Kind }>,
    { signal, onProgress }: TaskOptions,
  ): Promise<TaskResults[Kind]> {
    const id = this.#nextId++;
    return await this.#converse<TaskResults[Kind]>(signal, { type: "task", id, task }, (message, { done, failed }) => {
      if (message.type === "task_progress") onProgress?.(message.done, message.total);
      // The child answers a task with the result of its kind.
      else if (message.type === "task_done") done(message.result as TaskResults[Kind]);
      else if (message.type === "task_failed") failed(AppError.fromFacts(message.error));
    });
  }

  /** @throws AppError; the signal's reason when it aborts */
  async answer(request: ChatRequest, { signal, onProgress }: TaskOptions): Promise<BenchAnswer> {
    const id = this.#nextId++;
    const startedAt = performance.now();
    let firstAt: number | undefined;
    let text = "";
    let tokens = 0;
    return await this.#converse<BenchAnswer>(signal, { type: "admit", id, request }, (message, { done, failed }) => {
      if (message.type === "admitted") this.#send({ type: "run", id });
      else if (message.type === "refused") failed(AppError.fromFacts(message.error));
      else if (message.type === "texts") {
        firstAt ??= performance.now();
        for (const [, count, piece] of message.frames) {
          tokens += count;
          if (piece?.type === "text") text += piece.text;
        }
        onProgress?.(tokens, request.maxTokens ?? tokens);
      } else if (message.type === "ended") {
        const { end, usage, timings } = message;
        if (end.type === "error") failed(AppError.fromFacts(end.error));
        else if (end.type === "cancelled") failed(new AppError("internal", "The answer was cancelled."));
        else {
          const timeToFirstTokenMs = (firstAt ?? performance.now()) - startedAt;
          done({ text, finishReason: end.finishReason, usage, timeToFirstTokenMs, timings });
        }
      }
    });
  }

  /** Frees the model; a child that does not obey is killed. Never rejects. */
  async close(): Promise<void> {
    const kill = setTimeout(() => this.#child.kill("SIGKILL"), childStopMsMax);
    this.#send({ type: "stop" });
    await this.#exited;
    clearTimeout(kill);
  }

  /** For a cancel: nothing native is worth waiting for. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#exited;
  }

  #converse<T>(
    signal: AbortSignal,
    first: ParentMessage,
    hear: (message: ChildMessage, settle: { done(value: T): void; failed(error: AppError): void }) => void,
    silenceMs = silenceMsMax,
  ): Promise<T> {
    signal.throwIfAborted();
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise<T>((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined;
      const hangs = () => settle(() => reject(new AppError("engine_timeout", "The model process stopped responding.")));
      const watch = () => {
        clearTimeout(timer);
        timer = setTimeout(hangs, silenceMs);
      };
      const abort = () => {
        settle(() => reject(signal.reason));
        this.#child.kill("SIGKILL");
      };
      const settle = (how: () => void) => {
        clearTimeout(timer);
        signal.removeEventListener("abort", abort);
        this.#waiter = undefined;
        how();
      };
      const settlers = {
        done: (value: T) => settle(() => resolve(value)),
        failed: (error: AppError) => settle(() => reject(error)),
      };
      signal.addEventListener("abort", abort, { once: true });
      watch();
      this.#waiter = {
        take: (message) => {
          watch();
          hear(message, settlers);
          return true;
        },
        fail: settlers.failed,
      };
      this.#send(first);
    });
  }

  #send(message: ParentMessage): void {
    // The callback keeps a write to a dying child from becoming an exception.
    if (this.#child.connected) this.#child.send(message, () => {});
  }

  #receive(message: ChildMessage): void {
    if (message.type === "pulse") {
      this.memory = message.memory;
      this.rssBytesMax = Math.max(this.rssBytesMax, message.memory.rssBytes);
      return;
    }
    if (message.type === "log") {
      if (message.level === "error") this.#complaint = message.message;
      return;
    }
    this.#waiter?.take(message);
  }

  #fail(error: AppError): void {
    this.#failure = error;
    this.#waiter?.fail(error);
  }
}

/**
 * Runs `work` on a child that is gone afterwards, whatever happens.
 *
 * @param environment which GPUs it sees, of the settings it will load with
 */
export async function withWorkbench<T>(
  program: ChildProgram,
  sequenceCount: number,
  work: (bench: Workbench) => Promise<T>,
  environment?: LoadSettings["gpuEnvironment"],
): Promise<T> {
  const bench = new Workbench(program, sequenceCount, environment);
  try {
    const result = await work(bench);
    await bench.close();
    return result;
  } catch (thrown) {
    await bench.kill();
    throw thrown;
  }
}
