/**
 * A chat engine made of chat engines. A request goes to an engine that has its model loaded, among those to the one with
 * the shortest expected wait, among those to one that is not far slower with the model than the fastest, among those to
 * the one that answered this conversation before, whose prefix it still holds. What is known of the engines is read in
 * the background, not per request.
 *
 * A lone engine gets everything unlooked at: it knows best what it has, and queues by itself.
 */
import { batchesOf, fromBatches } from "../core/batches.ts";
import { type ChatEvent, type ChatRequest, isTerminal } from "../core/chat.ts";
import { AppError, type ErrorCode } from "../core/errors.ts";
import {
  answerMsAssumed,
  answerTokensAssumed,
  engineListMsMax,
  engineStateMsMax,
  engineTriesMax,
  healthMsMax,
  modelListAgeMsMax,
  queueRequestsMax,
  queueWaitMsMax,
} from "../core/limits.ts";
import type { ChatEngine, ChatTurn, EngineHealth, EngineRecord, ModelListing, Timer } from "../core/ports.ts";
import { claimOfChat } from "../core/service-terms.ts";
import { conversationScore } from "./conversation-score.ts";
import { type AnswerJob, isJobEngine, type JobReply } from "./hand-over.ts";
import { type Choice, createAsk } from "./router-ask.ts";
import {
  coldness,
  createMember,
  type EngineMember,
  expectedAnswerMs,
  expectedWaitMs,
  hasFreeSlot,
  isAvailable,
  type MemberFacts,
  mayHave,
  noteAnswer,
  noteFailure,
  readMember,
  roomFor,
  toldRate,
  towards,
} from "./router-member.ts";
import { createWaitingLine } from "./waiting-line.ts";

export interface RouterOptions {
  /** From the settings. */
  engines: MemberFacts[];
  /** Engines registered elsewhere; read now and then, so that another process's changes are seen. */
  registered?: { list(): Promise<EngineRecord[]>; open(record: EngineRecord): ChatEngine };
  /** A model name and those tried for it in order, e.g. "chat-small" → ["qwen3-8b", "llama-3.2-3b"]. */
  aliases?: ReadonlyMap<string, readonly string[]>;
  timer: Timer;
  /** What to say when there is no engine at all. */
  noEngineMessage?: string;
  /** Requests that wait here when all engines are busy; default `queueRequestsMax`. */
  waitingMax?: number;
}

export interface Router extends ChatEngine {
  embed: NonNullable<ChatEngine["embed"]>;
  rerank: NonNullable<ChatEngine["rerank"]>;
  /** Reads every engine now, and gives waiting requests what has become free. */
  refresh(): Promise<void>;
  members(): Promise<readonly Readonly<EngineMember>[]>;
  /** Sets an engine of the settings aside or takes it back, until the next start. */
  drain(name: string, draining: boolean): boolean;
  /** Reads the registered engines again, because they changed. */
  reload(): Promise<void>;
  /**
   * Gives a request to the best engine if that one takes requests whole and is free. Undefined: ask by `chat`, which
   * waits in line, goes elsewhere, and says why not.
   */
  handOver(job: AnswerJob, signal: AbortSignal): Promise<JobReply | undefined>;
  /** False while no engine takes requests whole, as far as is known: then there is nothing to try. */
  readonly handsOver: boolean;
  /** Requests waiting for any engine. */
  readonly waiting: number;
}

/** Failures that another engine may not have. A timeout is not among them: nobody waits for two. */
const elsewhere: ReadonlySet<ErrorCode> = new Set([
  "engine_unavailable",
  "engine_overloaded",
  "engine_out_of_memory",
  "invalid_configuration",
  "model_not_found",
  "internal",
]);

interface Failure {
  member: EngineMember;
  code: ErrorCode;
}

/** An engine so many times slower than the fastest is asked when no faster one is free. */
const slowerMax = 2;

/** Between two looks at busy engines while requests wait. */
const waitingLookMs = 500;

export function createRouter(options: RouterOptions): Router {
  const { timer, aliases = new Map<string, readonly string[]>() } = options;
  const configured = options.engines.map(createMember);
  let registered: EngineMember[] = [];
  let listedAt = Number.NEGATIVE_INFINITY;
  const line = createWaitingLine<Choice>(options.waitingMax ?? queueRequestsMax);
  /** Typical length of an answer, tokens. */
  let answerTokens = answerTokensAssumed;
  const now = () => timer.now();
  const all = () => [...configured, ...registered];
  /** What the name in a request stands for, best first. */
  const modelsOf = (request: ChatRequest): readonly string[] => aliases.get(request.model) ?? [request.model];

  const reload = async () => {
    if (options.registered === undefined) return;
    const records = await options.registered.list();
    listedAt = now();
    registered = records.map((record) => keepOrOpen(record, registered, options.registered!.open));
  };

  const members = async (): Promise<EngineMember[]> => {
    // The first engine of all is waited for by whoever set it up.
    const ageMax = all().length === 0 ? engineStateMsMax : engineListMsMax;
    if (options.registered !== undefined && now() - listedAt >= ageMax) await reload();
    return all();
  };

  /** Waits only for engines nothing is known of yet. */
  const freshen = async (found: readonly EngineMember[]): Promise<void> => {
    const unknown: Promise<void>[] = [];
    for (const member of found) {
      if (member.health === undefined) unknown.push(readMember(member, now));
      else if (now() - member.readAt >= engineStateMsMax && now() - member.readingSince > 2 * healthMsMax) {
        void readMember(member, now).then(() => line.pump());
      }
    }
    await Promise.all(unknown);
  };

  /** Nobody can answer, as far as is known: one that just came, or came back, is worth a look before a refusal. */
  const lookAgain = async () => {
    if (options.registered !== undefined && now() - listedAt >= engineStateMsMax) await reload();
    const away = all().filter((member) => member.health === undefined || member.health.state === "stopped");
    await Promise.all(away.map((member) => readMember(member, now)));
  };

  const refresh = async () => {
    await Promise.all((await members()).map((member) => readMember(member, now)));
    line.pump();
  };

  const loneOf = (found: readonly EngineMember[], model: string): EngineMember | undefined =>
    found.length === 1 && !found[0]!.draining && !aliases.has(model) ? found[0] : undefined;

  /** Best first. An engine that this request has tried is out. */
  const candidates = (model: string, tried: ReadonlySet<EngineMember>): EngineMember[] =>
    all().filter((member) => !tried.has(member) && isAvailable(member, now()) && mayHave(member, model));

  const choose = (request: ChatRequest, tried: ReadonlySet<EngineMember>, freeOnly: boolean): Choice | undefined => {
    for (const model of modelsOf(request)) {
      const able = candidates(model, tried);
      if (able.length === 0) continue;
      const ready = able.filter((member) => !freeOnly || hasFreeSlot(member));
      const slow = slowOnes(ready, model);
      const ranked = ready
        .map((member) => {
          const cold = coldness(member, model);
          const room = cold === 0 ? 0 : roomFor(member, model);
          return { member, cold, room, waitMs: expectedWaitMs(member, model, answerTokens) };
        })
        .sort(
          (a, b) =>
            a.cold - b.cold ||
            a.room - b.room ||
            a.waitMs - b.waitMs ||
            Number(slow.has(a.member)) - Number(slow.has(b.member)) ||
            conversationScore(request, b.member) - conversationScore(request, a.member),
        );
      // A fallback stands in for a model that is gone, not for one that is busy.
      return ranked[0] === undefined ? undefined : { member: ranked[0].member, model };
    }
    return undefined;
  };

  const take = (choice: Choice | undefined): Choice | undefined => {
    if (choice !== undefined) {
      choice.member.inFlight++;
      if (choice.member.failures > 0) choice.member.probing = true;
    }
    return choice;
  };

  const giveBack = ({ member, model }: Choice, tookMs: number | undefined, completionTokens?: number) => {
    member.inFlight--;
    member.probing = false;
    if (tookMs !== undefined) {
      noteAnswer(member, model, tookMs, completionTokens);
      if (completionTokens) answerTokens = towards(answerTokens, completionTokens);
    }
    line.pump();
  };

  /** Every slot that may serve the request ends an answer in the time one takes on its engine. */
  const estimateWaitMs = (request: ChatRequest, position: number): number => {
    const models = modelsOf(request);
    let answersPerMs = 0;
    for (const member of all()) {
      const model = models.find((id) => mayHave(member, id));
      if (model === undefined || member.health?.state !== "ready") continue;
      const answerMs = expectedAnswerMs(member, model, answerTokens) ?? member.answerMs;
      answersPerMs += Math.max(1, member.health.slots) / Math.max(1, answerMs);
    }
    return Math.round(answersPerMs === 0 ? position * answerMsAssumed : position / answersPerMs);
  };

  /** The choice, or the event that ends the request without one. */
  async function* waitForPlace(
    request: ChatRequest,
    tried: ReadonlySet<EngineMember>,
    signal: AbortSignal,
  ): AsyncGenerator<readonly ChatEvent[], Choice | ChatEvent> {
    const waiter = line.join(claimOfChat(request), () => take(choose(request, tried, true)));
    if (waiter === undefined) return overloaded(line.length * 1000);
    const since = now();
    const leave = new Promise<"left">((resolve) => {
      if (signal.aborted) resolve("left");
      else signal.addEventListener("abort", () => resolve("left"), { once: true });
    });
    let placed: Choice | undefined;
    let shown = 0;
    try {
      for (;;) {
        const position = waiter.position();
        if (position > 0 && position !== shown) {
          shown = position;
          yield [{ type: "queued", position, estimatedWaitMs: estimateWaitMs(request, position) }];
        }
        const looked = new AbortController();
        const turn = await Promise.race([waiter.turn, leave, timer.wait(waitingLookMs, looked.signal)]);
        looked.abort();
        if (typeof turn === "object") {
          placed = turn;
          return turn;
        }
        if (turn === "left") return cancelled;
        if (now() - since >= queueWaitMsMax) return overloaded(estimateWaitMs(request, shown));
        await freshen(all());
        if (candidatesGone(request, tried)) return unavailable(modelsOf(request), all(), now());
        line.pump();
      }
    } finally {
      // Left in the middle: a place given in the same moment goes to the next.
      if (placed === undefined && !waiter.leave()) void waiter.turn.then((choice) => giveBack(choice, undefined));
    }
  }

  const candidatesGone = (request: ChatRequest, tried: ReadonlySet<EngineMember>) =>
    modelsOf(request).every((model) => candidates(model, tried).length === 0);

  /**
   * One try. Returns the error when it came before `start` and another engine may do better; only when one has done
   * better, or there is none, is that the engine's failure: a request that no engine can answer rests none of them.
   *
   * @param failures of this request at engines tried before
   */
  async function* tryEngine(
    choice: Choice,
    request: ChatRequest,
    turn: ChatTurn,
    failures: Failure[],
  ): AsyncGenerator<readonly ChatEvent[], Extract<ChatEvent, { type: "error" }> | undefined> {
    const { member, model } = choice;
    const { signal } = turn;
    const startedAt = now();
    let started = false;
    let finished = false;
    let completionTokens: number | undefined;
    try {
      for await (const batch of batchesOf(member.engine.chat({ ...request, model }, turn))) {
        const error = batch.find((event) => event.type === "error");
        if (batch.some((event) => event.type === "start")) {
          started = true;
          member.failures = 0;
          for (const { member, code } of failures) noteFailure(member, code, now());
        }
        if (error !== undefined && !signal.aborted) {
          const { code } = error.error;
          if (!started && elsewhere.has(code)) {
            failures.push({ member, code });
            return error;
          }
          noteFailure(member, code, now());
        }
        const last = batch.at(-1);
        finished = last?.type === "finish";
        if (last?.type === "finish") completionTokens = last.usage.completionTokens;
        yield member.named ? batch.map((event) => signed(event, member.name)) : batch;
        if (last !== undefined && isTerminal(last)) return undefined;
      }
      return undefined;
    } finally {
      giveBack(choice, finished ? now() - startedAt : undefined, completionTokens);
    }
  }

  async function* chat(request: ChatRequest, turn: ChatTurn): AsyncGenerator<readonly ChatEvent[], void> {
    const { signal } = turn;
    if (signal.aborted) return yield [cancelled];
    const found = await members();
    if (found.length === 0) return yield [failed(noEngine(options))];
    const lone = loneOf(found, request.model);
    if (lone === undefined) await freshen(found);
    const tried = new Set<EngineMember>();
    const failures: Failure[] = [];
    let last: ChatEvent | undefined;
    let looked = false;
    while (tried.size < engineTriesMax) {
      let choice = take(lone === undefined ? choose(request, tried, true) : { member: lone, model: request.model });
      if (choice === undefined) {
        if (candidatesGone(request, tried)) {
          if (tried.size > 0 || looked) break;
          looked = true;
          await lookAgain();
          continue;
        }
        const placed = yield* waitForPlace(request, tried, signal);
        if ("type" in placed) return yield [placed.type === "cancelled" ? placed : (last ?? placed)];
        choice = placed;
      }
      tried.add(choice.member);
      const error = yield* tryEngine(choice, request, turn, failures);
      if (error === undefined) return;
      last = error;
      if (lone !== undefined) break;
    }
    if (failures.length === 1) noteFailure(failures[0]!.member, failures[0]!.code, now());
    yield [last ?? unavailable(modelsOf(request), found, now())];
  }

  const handOver: Router["handOver"] = async (job, signal) => {
    const { request } = job.call;
    const found = await members();
    const lone = found.length === 1 && !found[0]!.draining && !aliases.has(request.model) ? found[0] : undefined;
    if (lone === undefined) await freshen(found);
    const choice = lone === undefined ? choose(request, new Set(), true) : { member: lone, model: request.model };
    if (choice === undefined) return undefined;
    const { member, model } = choice;
    const { engine } = member;
    if (!isJobEngine(engine)) return undefined;
    take(choice);
    const startedAt = now();
    const call = { ...job.call, request: { ...request, model } };
    const reply = await engine.answerJob(
      { ...job, call, ...(member.named ? { engineName: member.name } : {}) },
      signal,
    );
    void reply.ended.then(() => giveBack(choice, reply.refused === undefined ? now() - startedAt : undefined));
    if (reply.refused === undefined) member.failures = 0;
    else if (!signal.aborted) {
      const { code } = reply.refused.error;
      noteFailure(member, code, now());
      if (elsewhere.has(code) && lone === undefined) return undefined;
    }
    return reply;
  };

  const ask = createAsk({
    members,
    loneOf,
    freshen,
    choose: (request, tried) => choose(request, tried, true),
    take,
    giveBack: (choice) => giveBack(choice, undefined),
    isHopeless: (request, tried) => candidatesGone(request, tried),
    wait: waitForPlace,
    unavailable: (request, found) => unavailable(modelsOf(request), found, now()),
    noEngine: () => noEngine(options),
    elsewhere,
  });

  return {
    ...ask,
    handOver,
    get handsOver() {
      const unread = options.registered !== undefined && listedAt === Number.NEGATIVE_INFINITY;
      return unread || all().some(({ engine }) => isJobEngine(engine));
    },
    chat: (request, turn) => fromBatches(chat(request, turn)),
    refresh,
    members,
    reload,
    drain(name, draining) {
      const member = configured.find((one) => one.name === name);
      if (member !== undefined) member.draining = draining;
      line.pump();
      return member !== undefined;
    },
    get waiting() {
      return line.length;
    },
    async models() {
      const found = await members();
      if (found.length === 0) throw noEngine(options);
      const lists = found.length === 1 ? [await found[0]!.engine.models()] : await readLists(found, now);
      return withAliases(union(lists), aliases);
    },
    async health() {
      const found = await members();
      if (found.length === 0) return { ...nobody, reason: noEngine(options).message };
      if (found.length === 1) return found[0]!.engine.health();
      await Promise.all(found.map((member) => readMember(member, now)));
      return addUp(found, line.length);
    },
  };
}

const cancelled: ChatEvent = { type: "cancelled", usage: {}, timings: {} };
const nobody: EngineHealth = { state: "stopped", active: 0, queued: 0, slots: 0 };

/** Under the name the settings or an administrator gave the engine. */
function signed(event: ChatEvent, engineId: string): ChatEvent {
  return event.type === "start" ? { ...event, producer: { ...event.producer, engineId } } : event;
}

function failed(error: AppError): ChatEvent {
  return { type: "error", error: error.toFacts() };
}

function overloaded(retryAfterMs: number): ChatEvent {
  const message = "All engines are busy and the line is full; try again soon.";
  return failed(new AppError("engine_overloaded", message, { retryAfterMs: Math.max(1000, Math.round(retryAfterMs)) }));
}

function noEngine({ noEngineMessage }: RouterOptions): AppError {
  const message = noEngineMessage ?? "No engine is connected; an administrator can add one at /v1/engines.";
  return new AppError("engine_unavailable", message);
}

/** Nobody has the model, or those who have it cannot be asked now. */
function unavailable(models: readonly string[], members: readonly EngineMember[], now: number): ChatEvent {
  const known = [...new Set(members.flatMap((member) => member.models?.map((listing) => listing.id) ?? []))];
  const owners = members.filter((member) => models.some((model) => mayHave(member, model)));
  if (owners.length === 0) {
    const names = known.slice(0, 10).join(", ");
    const message = `No engine has this model${names === "" ? "" : `; there are: ${names}`}.`;
    return failed(new AppError("model_not_found", message, { param: "model" }));
  }
  const restMs = Math.min(...owners.map((member) => member.restUntil - now).filter((ms) => ms > 0));
  const message = "No engine that has this model can answer right now; try again shortly.";
  const retry = Number.isFinite(restMs) ? { retryAfterMs: restMs } : {};
  return failed(new AppError("engine_unavailable", message, retry));
}

/** A record that did not change keeps what is known of its engine. */
function keepOrOpen(
  record: EngineRecord,
  before: readonly EngineMember[],
  open: (record: EngineRecord) => ChatEngine,
): EngineMember {
  const { name, url, weight, draining, createdAt } = record;
  const known = before.find((member) => member.name === name && identities.get(member) === `${createdAt} ${url}`);
  if (known !== undefined) return Object.assign(known, { weight, draining });
  const member = createMember({ name, url, weight, draining, engine: open(record), origin: "registered", named: true });
  identities.set(member, `${createdAt} ${url}`);
  return member;
}

/** Which record a member was made of; one that was replaced by another of its name is opened anew. */
const identities = new WeakMap<EngineMember, string>();

/**
 * Those that are far slower with the model than the fastest, by what engines tell of themselves: what was seen here of
 * one that gets few requests is old. Engines that do not tell are not among them.
 */
function slowOnes(members: readonly EngineMember[], model: string): Set<EngineMember> {
  const rates = members.map((member) => [member, (toldRate(member, model) ?? 0) * member.weight] as const);
  const most = Math.max(...rates.map(([, rate]) => rate));
  return new Set(rates.flatMap(([member, rate]) => (rate > 0 && rate * slowerMax < most ? [member] : [])));
}

async function readLists(members: EngineMember[], now: () => number): Promise<ModelListing[][]> {
  await Promise.all(
    members.map((member) => (now() - member.modelsReadAt >= modelListAgeMsMax ? readMember(member, now) : undefined)),
  );
  const lists = members.flatMap((member) => (member.models === undefined ? [] : [member.models]));
  if (lists.length > 0) return lists;
  throw new AppError("engine_unavailable", "No engine can be reached; check that they are running.");
}

/** The same model on several engines is one; loaded where one has it loaded. */
function union(lists: readonly ModelListing[][]): ModelListing[] {
  const byId = new Map<string, ModelListing>();
  for (const listing of lists.flat()) {
    const known = byId.get(listing.id);
    if (known === undefined || (!known.loaded && listing.loaded)) byId.set(listing.id, listing);
  }
  return [...byId.values()];
}

function withAliases(listings: ModelListing[], aliases: ReadonlyMap<string, readonly string[]>): ModelListing[] {
  const listed = [...listings];
  for (const [alias, targets] of aliases) {
    if (listings.some((listing) => listing.id === alias)) continue;
    const target = targets.map((id) => listings.find((listing) => listing.id === id)).find((one) => one !== undefined);
    if (target !== undefined) listed.push({ ...target, id: alias });
  }
  return listed;
}

const stateOrder: EngineHealth["state"][] = ["ready", "loading", "restarting", "failed", "stopped"];

function addUp(members: readonly EngineMember[], waiting: number): EngineHealth {
  const sum: EngineHealth = { ...nobody, queued: waiting };
  const reasons: string[] = [];
  for (const { name, health } of members) {
    if (health === undefined) continue;
    if (stateOrder.indexOf(health.state) < stateOrder.indexOf(sum.state)) sum.state = health.state;
    if (health.reason !== undefined) reasons.push(`${name}: ${health.reason}`);
    sum.active += health.active;
    sum.queued += health.queued;
    if (health.state === "ready") sum.slots += health.slots;
  }
  return sum.state === "ready" || reasons.length === 0 ? sum : { ...sum, reason: reasons.join(" ") };
}
