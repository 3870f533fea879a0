/**
 * The chat bots on Workers: a Durable Object for each platform holds the bot, so that whoever presses Stop reaches the
 * answer that is being written. Answers outlive the requests they came with: the object's alarm keeps it awake for as
 * long as one is at work, and takes work up again that a restart of the object cut.
 * See docs/decisions/2026-11-20-bots-at-the-edge.md
 */
import * as z from "zod";
import { reactAgain, reactOnce } from "../bots/discord/http-interactions.ts";
import type { Keep } from "../bots/keep.ts";
import { keptMsMax } from "../core/limits.ts";
import {
  createRoomDiscord,
  createRoomSlack,
  type RoomDiscord,
  type RoomParts,
  type RoomSlack,
} from "./edge-chat-bots.ts";
import type { EdgeBotsEnvironment } from "./edge-environment.ts";
import { systemTimer } from "./timer.ts";
import { workerLogger } from "./worker-logger.ts";

/** The part of a Durable Object's state that is used. */
export interface RoomState {
  storage: {
    get(key: string): Promise<unknown>;
    put(key: string, value: unknown): Promise<void>;
    delete(key: string): Promise<boolean>;
    list(options: { prefix: string; limit?: number }): Promise<Map<string, unknown>>;
    setAlarm(at: number): Promise<void>;
  };
}

/** Discord's tokens end after 15 minutes; so does a run of the alarm. */
const aliveMsMax = 10 * 60_000;
const jobMsMax = 14 * 60_000;
const jobTriesMax = 2;
/** An event that is no question is done with in less. */
const lookMsMax = 1_000;

const identityKey = "slack identity";

const jobSchema = z.object({ interaction: z.unknown(), receivedAt: z.number(), tries: z.number() });
type Job = z.infer<typeof jobSchema>;

const keptSchema = z.object({ value: z.unknown(), at: z.number() });

export class ChatRoom {
  readonly #storage: RoomState["storage"];
  readonly #environment: EdgeBotsEnvironment;
  readonly #work = new Set<Promise<unknown>>();
  /** Interactions whose work runs in this life of the object. */
  readonly #running = new Set<string>();
  #awake = false;
  #discord: RoomDiscord | undefined;
  #slack: Promise<RoomSlack> | undefined;

  constructor(state: RoomState, environment: EdgeBotsEnvironment) {
    this.#storage = state.storage;
    this.#environment = environment;
  }

  /** What the Worker hands over: signed, parsed, and not yet acknowledged. */
  async fetch(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    try {
      if (pathname === "/discord") return await this.#takeInteraction((await request.json()) as Omit<Job, "tries">);
      return await this.#takeSlack((await request.json()) as Record<string, unknown>);
    } catch (thrown) {
      workerLogger.error("a chat platform's request could not be taken", { error: String(thrown) });
      return new Response("Not handled.", { status: 503 });
    }
  }

  /** Keeps the object awake while it works; takes up what an earlier life left; forgets what is old. */
  async alarm(): Promise<void> {
    this.#awake = true;
    let nextAt: number | undefined;
    try {
      await this.#resume();
      await this.#workEnds();
      nextAt = await this.#tidy();
    } finally {
      this.#awake = false;
      if (this.#work.size > 0) nextAt = systemTimer.now();
      if (nextAt !== undefined) await this.#storage.setAlarm(nextAt);
    }
  }

  /** Or as long as one run of the alarm may take. */
  async #workEnds(): Promise<void> {
    const until = systemTimer.now() + aliveMsMax;
    while (this.#work.size > 0 && systemTimer.now() < until) {
      const ended = new AbortController();
      await Promise.race([Promise.all(this.#work), systemTimer.wait(until - systemTimer.now(), ended.signal)]);
      ended.abort();
    }
  }

  async #takeInteraction({ interaction, receivedAt }: Omit<Job, "tries">): Promise<Response> {
    const { context } = this.#openDiscord();
    const reaction = await reactOnce(interaction, receivedAt, context);
    if (reaction === undefined) return new Response("Taken before.", { status: 409 });
    if (reaction.later !== undefined) await this.#begin({ interaction, receivedAt, tries: 1 }, reaction.later);
    return Response.json(reaction.response);
  }

  /** The work is on record before Discord hears of it. */
  async #begin(job: Job, work: () => Promise<void>): Promise<void> {
    const { id } = job.interaction as { id: string };
    const key = `job ${id}`;
    this.#running.add(id);
    await this.#storage.put(key, job);
    await this.#stayAwake();
    this.#track(
      work().finally(async () => {
        this.#running.delete(id);
        await this.#storage.delete(key);
      }),
    );
  }

  async #resume(): Promise<void> {
    for (const [key, value] of await this.#storage.list({ prefix: "job ", limit: 100 })) {
      if (this.#running.has(key.slice("job ".length))) continue;
      const job = jobSchema.parse(value);
      const late = systemTimer.now() - job.receivedAt > jobMsMax;
      if (late || job.tries >= jobTriesMax) {
        await this.#storage.delete(key);
        continue;
      }
      workerLogger.warn("an answer that was cut is begun again", { job: key });
      const { context } = this.#openDiscord();
      const { later } = await reactAgain(job.interaction, job.receivedAt, context);
      await this.#begin({ ...job, tries: job.tries + 1 }, later ?? (async () => {}));
    }
  }

  async #takeSlack(body: Record<string, unknown>): Promise<Response> {
    this.#slack ??= this.#openSlack();
    const { handle, workspace } = await this.#slack;
    this.#track(handle(body).then(async () => void (await Promise.all(workspace.background))));
    // Most events are looked at and put aside at once; the object is awake for some seconds after each anyway.
    void systemTimer.wait(lookMsMax).then(async () => {
      if (this.#work.size > 0) await this.#stayAwake();
    });
    return new Response("");
  }

  async #openSlack(): Promise<RoomSlack> {
    try {
      const opened = await createRoomSlack({ ...this.#parts(), known: await this.#storage.get(identityKey) });
      await this.#storage.put(identityKey, opened.identity);
      return opened;
    } catch (thrown) {
      // A failure must not be what every later request meets.
      this.#slack = undefined;
      throw thrown;
    }
  }

  #openDiscord(): RoomDiscord {
    this.#discord ??= createRoomDiscord(this.#parts());
    return this.#discord;
  }

  #parts(): RoomParts {
    return { environment: this.#environment, logger: workerLogger, keep: this.#keep };
  }

  #track(work: Promise<unknown>): void {
    const tracked: Promise<unknown> = work.catch(() => {}).finally(() => this.#work.delete(tracked));
    this.#work.add(tracked);
  }

  async #stayAwake(): Promise<void> {
    if (!this.#awake) await this.#storage.setAlarm(systemTimer.now());
  }

  /** @returns when something is to be forgotten next, milliseconds since the epoch */
  async #tidy(): Promise<number | undefined> {
    const now = systemTimer.now();
    let nextAt: number | undefined;
    for (const [key, value] of await this.#storage.list({ prefix: "keep ", limit: 1000 })) {
      const forgetAt = keptSchema.parse(value).at + keptMsMax;
      if (forgetAt <= now) await this.#storage.delete(key);
      else nextAt = Math.min(nextAt ?? forgetAt, forgetAt);
    }
    return nextAt;
  }

  readonly #keep: Keep = {
    put: (key, value) => this.#storage.put(`keep ${key}`, { value, at: systemTimer.now() }),
    get: async (key) => {
      const kept = keptSchema.safeParse(await this.#storage.get(`keep ${key}`));
      return kept.success && systemTimer.now() - kept.data.at <= keptMsMax ? kept.data.value : undefined;
    },
  };
}
