/** Requests for vectors and scores on their way through the engine: a place in line, a task for the child, one result. */
import { AppError, toAppError } from "../core/errors.ts";
import type { Claim } from "../core/fair-order.ts";
import type { Clock } from "../core/ports.ts";
import type { ChildMessage, ParentMessage } from "./ipc.ts";
import type { Scheduler, Ticket } from "./scheduler.ts";
import type { ChildTask, EmbedTask, RerankTask, TaskResults } from "./task.ts";

export type VectorTask = EmbedTask | RerankTask;

export interface VectorDeskOptions {
  scheduler: Scheduler;
  clock: Clock;
  /** Ids are shared with chats: both are known to the child by them. */
  nextId(): number;
  send(message: ParentMessage): void;
  waitedTooLong(): AppError;
  /** The last request has ended. */
  onIdle(): void;
}

export interface VectorOutcome<Result> {
  result: Result;
  queueMs: number;
  totalMs: number;
}

interface Job {
  id: number;
  task: VectorTask;
  ticket: Ticket | undefined;
  running: boolean;
  acceptedAt: number;
  startedAt: number;
  /** By the monotonic clock. */
  signAt: number;
  settle(result: TaskResults[ChildTask["kind"]]): void;
  reject(error: AppError): void;
}

export class VectorDesk {
  readonly #options: VectorDeskOptions;
  readonly #jobs = new Map<number, Job>();

  constructor(options: VectorDeskOptions) {
    this.#options = options;
  }

  /** Requests that wait or run. */
  get size(): number {
    return this.#jobs.size;
  }

  /** Longest silence of the child about a running request, milliseconds. */
  get silenceMs(): number {
    const running = [...this.#jobs.values()].filter((job) => job.running);
    return Math.max(0, ...running.map(({ signAt }) => performance.now() - signAt));
  }

  /** @throws AppError engine_overloaded at once when the line is full; also what the child says, and on abort */
  async run<Task extends VectorTask>(
    task: Task,
    claim: Claim,
    signal: AbortSignal,
  ): Promise<VectorOutcome<TaskResults[Task["kind"]]>> {
    if (signal.aborted) throw cancelled();
    const { clock, nextId } = this.#options;
    const acceptedAt = clock.now();
    let job: Job | undefined;
    const abort = () => job !== undefined && this.#abandon(job, cancelled());
    signal.addEventListener("abort", abort, { once: true });
    try {
      const result = await new Promise<TaskResults[ChildTask["kind"]]>((settle, reject) => {
        job = {
          id: nextId(),
          task,
          ticket: undefined,
          running: false,
          acceptedAt,
          startedAt: acceptedAt,
          signAt: performance.now(),
          settle,
          reject,
        };
        this.#enter(job, claim);
      });
      const { startedAt } = job!;
      // The child answers a task of a kind with a result of that kind.
      const fitting = result as TaskResults[Task["kind"]];
      return { result: fitting, queueMs: startedAt - acceptedAt, totalMs: clock.now() - acceptedAt };
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  /** @returns whether the message was about one of these requests */
  receive(message: ChildMessage): boolean {
    if (message.type !== "task_done" && message.type !== "task_failed" && message.type !== "task_progress")
      return false;
    const job = this.#jobs.get(message.id);
    if (job === undefined) return false;
    if (message.type === "task_progress") {
      job.signAt = performance.now();
      return true;
    }
    this.#release(job);
    if (message.type === "task_done") job.settle(message.result);
    else job.reject(AppError.fromFacts(message.error));
    return true;
  }

  /** The child is gone, and what it was doing with it; the rest waits for the next one, if there will be one. */
  childDown(error: AppError, final: AppError | undefined): void {
    for (const job of [...this.#jobs.values()]) {
      if (!job.running && final === undefined) continue;
      this.#release(job);
      job.reject(job.running ? error : (final ?? error));
    }
  }

  /** Ends those that wait, or all. */
  refuse(error: AppError, { running }: { running: boolean }): void {
    for (const job of [...this.#jobs.values()]) if (running || !job.running) this.#abandon(job, error);
  }

  #enter(job: Job, claim: Claim): void {
    const { scheduler, clock, send, waitedTooLong } = this.#options;
    this.#jobs.set(job.id, job);
    try {
      job.ticket = scheduler.enter({
        ...claim,
        started: () => {
          job.running = true;
          job.startedAt = clock.now();
          job.signAt = performance.now();
          send({ type: "task", id: job.id, task: job.task });
        },
        moved: () => {},
        expired: () => this.#abandon(job, waitedTooLong()),
      });
    } catch (thrown) {
      this.#release(job);
      job.reject(toAppError(thrown));
    }
  }

  /** The caller is told now; the slot is free when the child has let go. */
  #abandon(job: Job, error: AppError): void {
    job.reject(error);
    if (job.running) this.#options.send({ type: "cancel", id: job.id });
    else this.#release(job);
  }

  #release(job: Job): void {
    this.#jobs.delete(job.id);
    job.ticket?.leave();
    if (this.#jobs.size === 0) this.#options.onIdle();
  }
}

/** Nobody reads this but a log: who aborted has gone. */
export function cancelled(): AppError {
  return new AppError("engine_unavailable", "The request was cancelled.");
}
