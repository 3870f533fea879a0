/** The seams between rooms. Types only: what an implementation must keep is said here and checked by test/contract. */
import type { ChatEvent, ChatRequest, FinishReason, RequestPriority, Timings, Usage } from "./chat.ts";
import type { DeltaRelay } from "./delta-relay.ts";
import type { ErrorCode, Locale } from "./errors.ts";
import type { Embeddings, EmbeddingsRequest, Ranking, RerankRequest } from "./vectors.ts";

/**
 * Something that answers chats: the llama child, an HTTP client, a router over others, a scripted fake.
 *
 * `chat` never throws for operating failures: it ends with an `error` event. Aborting the signal, or leaving the
 * iteration early, frees the slot; an aborted stream still being read ends with `cancelled`.
 */
export interface ChatEngine {
  chat(request: ChatRequest, turn: ChatTurn): AsyncIterable<ChatEvent>;
  /** Models it can answer with right now. Throws `AppError` when it cannot be reached. */
  models(): Promise<ModelListing[]>;
  /** Cheap, no inference. */
  health(): Promise<EngineHealth>;
  /**
   * Texts as vectors. Absent where the engine only chats, which callers tell as model_not_found. Rejects with `AppError`,
   * also when the signal aborts; the work then ends soon.
   */
  embed?(request: EmbeddingsRequest, options: { signal: AbortSignal }): Promise<Embeddings>;
  /** How well documents answer a query. Absent and rejecting as `embed`. */
  rerank?(request: RerankRequest, options: { signal: AbortSignal }): Promise<Ranking>;
  /** What operators ask of it. Absent on servers that are not ours. Rejects with `AppError`. */
  operate?(operation: EngineOperation): Promise<Record<string, unknown>>;
  /** What it told of its machine unasked. Absent where engines do not tell; undefined while they are away. */
  facts?(): Promise<LinkFacts | undefined>;
}

/** What an engine that dials in tells beside health and models, for people. */
export interface LinkFacts {
  hardware?: { cpu?: string; ramBytesTotal?: number; gpus: { name: string; vramBytesTotal: number }[] };
  /** By which its loaded models run. */
  plans?: {
    model: string;
    quantization?: string;
    offload?: string;
    contextLength?: number;
    gpuLayers?: number;
    vramBytes?: number;
  }[];
}

export interface ChatTurn {
  signal: AbortSignal;
  /** A short way for deltas, which engines need not use. */
  relay?: DeltaRelay | undefined;
}

/** For those who run the engine, never for callers of models. The answers are those of the engine's own routes. */
export type EngineOperation =
  | { verb: "status" }
  /** Will it fit now, and what would have to go? */
  | { verb: "plan"; model: string }
  | { verb: "load"; model: string; pinned?: boolean }
  /** Running answers may end within `drainMs`. */
  | { verb: "unload"; model: string; drainMs?: number }
  /** Takes no new requests until told otherwise. */
  | { verb: "drain"; draining: boolean }
  /** Measures a model at several precisions (src/fit/compare-report.ts); answered by the job, which goes on. */
  | { verb: "compare"; request: Record<string, unknown> }
  /** How the job is getting on, and in the end its report. */
  | { verb: "comparison"; id: string }
  | { verb: "cancel_comparison"; id: string }
  /** How its machine is, each finding with a remedy. */
  | { verb: "doctor"; locale: Locale }
  /** How its GPUs did over the last day, and what is wrong with them now. */
  | { verb: "monitoring" };

export interface ModelListing {
  id: string;
  /** What it is for; left out: chat. */
  task?: "embedding" | "rerank";
  quantization?: string;
  parameterCount?: number;
  /** Context per sequence it is loaded with. */
  contextLength?: number;
  contextLengthTrained?: number;
  fileBytes?: number;
  /** What the engine expects of one answer alone: as measured there, else from what it learned, else from its plan. */
  decodeTokensPerSecond?: number;
  loaded: boolean;
  /** True for the tiny demonstration model. */
  demo?: boolean;
}

export interface EngineHealth {
  /** "ready" answers now; "loading" and "restarting" will; "failed" needs a human, `reason` says why. */
  state: "ready" | "loading" | "restarting" | "failed" | "stopped";
  reason?: string;
  /** Requests being answered. */
  active: number;
  /** Requests waiting for a slot. */
  queued: number;
  slots: number;
  /** True when the server tells only that it answers: then active, queued and slots are not known. */
  assumed?: boolean;
  /** Memory of its machine, GPUs first; left out by servers that do not tell. */
  devices?: DeviceMemory[];
}

/** Memory of one device of an engine's machine, as last read. Bytes; what is not known is left out. */
export interface DeviceMemory {
  /** "NVIDIA GeForce RTX 3060"; of main memory "RAM". */
  name: string;
  kind: "gpu" | "host";
  bytesTotal: number;
  /** By anybody. */
  bytesUsed?: number;
  /** Of those, by this engine's models. */
  bytesOwn?: number;
}

/** Milliseconds since the Unix epoch. Injected, so that tests own time. */
export interface Clock {
  now(): number;
}

export interface Logger {
  debug(message: string, facts?: Record<string, unknown>): void;
  info(message: string, facts?: Record<string, unknown>): void;
  warn(message: string, facts?: Record<string, unknown>): void;
  error(message: string, facts?: Record<string, unknown>): void;
}

/** Where a request came in. */
export type UsageSource = "api" | "cli" | "discord" | "slack";

/** One admitted request as the ledger first sees it. No prompt text, ever. */
export interface UsageAdmission {
  id: string;
  /** Milliseconds since the epoch. */
  at: number;
  keyId: string;
  source: UsageSource;
  userId?: string;
  model: string;
  stream: boolean;
}

/** How an admitted request ended; completes the row the admission opened. */
export interface UsageReceipt {
  id: string;
  model?: string;
  quantization?: string;
  engineId?: string;
  usage: Usage;
  timings: Timings;
  finishReason?: FinishReason;
  errorCode?: ErrorCode;
  aborted: boolean;
}

/** A ledger row: the admission, and the receipt once there is one. */
export interface UsageRow extends UsageAdmission, Partial<Omit<UsageReceipt, "id" | "model" | "usage" | "timings">> {
  usage: Usage;
  timings: Timings;
  /** False while running, and for good when the process died before the receipt. */
  settled: boolean;
  /** The process died before the receipt: what the request used is not known. */
  interrupted: boolean;
}

export interface UsageQuery {
  /** Inclusive, milliseconds since the epoch. */
  since?: number;
  /** Exclusive. */
  until?: number;
  keyId?: string;
  userId?: string;
  /** At most `usageRowsMax`; default 50. */
  limit?: number;
  /** Only rows older than this one: the last of the page before. */
  after?: { at: number; id: string };
}

export type UsageGrouping = "day" | "key" | "user" | "model" | "source" | "engine" | "status";

export interface UsageGroupQuery extends Omit<UsageQuery, "after"> {
  group: UsageGrouping;
  /** Groups given; the totals are over all. */
  limit: number;
}

/** Use over time. `group: "day"` is the sum of all, under the value "". */
export interface UsageSeriesQuery {
  group: UsageGrouping;
  /** Inclusive, milliseconds since the epoch. */
  since: number;
  /** Exclusive. */
  until: number;
  /** Length of a step, UTC: whole hours. One longer than all time makes a single point. */
  stepMs: number;
  /** Only these groups; left out: all. */
  values?: readonly string[];
  /** With quantiles, which cost more to read. */
  latencies?: boolean;
}

export interface UsageSeriesPoint extends UsageGroup {
  /** Start of the step, milliseconds since the epoch. */
  at: number;
}

export interface UsageFailures {
  /** Most frequent first. */
  codes: { code: ErrorCode; requests: number }[];
  /** Newest first. */
  rows: UsageRow[];
}

/** Quantiles of what was measured, each within 2.2 %; `count` is how many answers had a measurement. */
export interface UsageQuantiles {
  count: number;
  p50: number;
  p95: number;
  p99: number;
}

export interface UsageGroup extends UsageTotals {
  /** A date, the id of a key, or a name; "" where a row has none. */
  value: string;
  queueMs?: UsageQuantiles;
  timeToFirstTokenMs?: UsageQuantiles;
  totalMs?: UsageQuantiles;
  completionTokensPerSecond?: UsageQuantiles;
}

export interface UsageTotals {
  requests: number;
  aborted: number;
  failed: number;
  interrupted: number;
  promptTokens: number;
  completionTokens: number;
  cachedPromptTokens: number;
}

/** One key's use, or one end user's behind it, for quotas. */
export interface ConsumptionQuery {
  keyId: string;
  /** null: those requests that name no user; left out: all of the key. */
  user?: string | null;
  /** A whole multiple of `windowMs` since the epoch, inclusive. */
  since: number;
  windowMs: number;
}

export interface Consumption {
  /** Admitted in the window. */
  requests: number;
  /** Prompt and completion tokens of answers that ended in the window. */
  tokens: number;
}

/** The ledger: Drizzle over SQLite or D1, same suite. */
export interface UsageStore {
  admit(admission: UsageAdmission): Promise<void>;
  /** What an answer under way has produced so far, for the case that nobody lives to tell its end. Ignored after that. */
  note(progress: UsageReceipt): Promise<void>;
  /** Idempotent: a second receipt for the same id changes nothing. */
  settle(receipt: UsageReceipt): Promise<void>;
  /** Newest first. */
  rows(query: UsageQuery): Promise<UsageRow[]>;
  /** Those of these ids, in no order; ids without a row are left out. */
  rowsOf(ids: readonly string[]): Promise<UsageRow[]>;
  /** By the number of the window since the epoch; windows without any are left out. */
  consumption(query: ConsumptionQuery): Promise<Map<number, Consumption>>;
  /** Over all rows of the query's time, key and user, whatever its limit. */
  totals(query: UsageQuery): Promise<UsageTotals>;
  /** Days ascending, other groups by requests, most first. */
  groups(query: UsageGroupQuery): Promise<{ groups: UsageGroup[]; groupCount: number; totals: UsageTotals }>;
  /** Ascending in time; steps and groups without any request are left out. */
  series(query: UsageSeriesQuery): Promise<UsageSeriesPoint[]>;
  /** Requests that failed, of those whose rows are still kept. */
  failures(query: { since: number; until: number; limit: number }): Promise<UsageFailures>;
  /**
   * Adds up whole days (UTC) before this time for fast reports, unless a request of theirs still runs. An aborted signal
   * ends the work between two pieces; the next call goes on.
   *
   * @returns how many days were added up
   */
  rollUp(before: number, signal?: AbortSignal): Promise<number>;
  /**
   * Deletes rows of days that are added up and lie wholly before this time; groups and totals go on counting them.
   *
   * @returns how many rows were deleted
   */
  forget(before: number, signal?: AbortSignal): Promise<number>;
  /**
   * Marks rows admitted before this time that have no receipt; a late receipt still completes them. For the start of
   * the one process that writes the ledger, or with a time no answer can outlive.
   *
   * @returns how many rows were marked
   */
  markInterrupted(before: number): Promise<number>;
  /** Throws `AppError` when the ledger cannot be read. */
  check(): Promise<void>;
}

/** "engine": connects engines, and nothing else. */
export type KeyScope = "chat" | "fits" | "usage" | "engine" | "compare" | "admin";

/** What may be asked in how long; left out is without bound. Minutes and days are those of the UTC clock. */
export interface QuotaLimits {
  requestsPerMinute?: number;
  requestsPerDay?: number;
  /** Prompt and completion tokens. */
  tokensPerMinute?: number;
  tokensPerDay?: number;
  /** Requests being answered at once. */
  concurrentRequests?: number;
}

export interface ApiKey {
  id: string;
  name: string;
  scopes: KeyScope[];
  /** First characters of the hash, safe to show. */
  fingerprint: string;
  createdAt: number;
  revokedAt?: number;
  /** Milliseconds since the epoch from which the key is refused. */
  expiresAt?: number;
  /** Models and aliases it may ask; left out: all. */
  models?: string[];
  /** For everything asked with the key. */
  limits?: QuotaLimits;
  /** For each end user behind the key. */
  userLimits?: QuotaLimits;
  /** Share of a busy engine among keys, 0.1 to 10; left out: 1. */
  weight?: number;
  /** The best treatment its requests get; left out: interactive. */
  priority?: RequestPriority;
}

/** API keys by hash; the secret itself is never stored. */
export interface KeyStore {
  findByHash(hash: string): Promise<ApiKey | undefined>;
  find(id: string): Promise<ApiKey | undefined>;
  insert(key: ApiKey & { hash: string }): Promise<void>;
  count(): Promise<number>;
  /** Oldest first, revoked and expired ones included. */
  list(): Promise<ApiKey[]>;
  /** A key revoked before keeps its time. Undefined when there is no such key. */
  revoke(id: string, at: number): Promise<ApiKey | undefined>;
}

/** Somebody signed in to the admin page with a key. */
export interface AdminSession {
  /** SHA-256 in hex of what the browser holds. */
  hash: string;
  keyId: string;
  expiresAt: number;
}

/** Sessions of the admin page, where every process and isolate sees them. */
export interface SessionStore {
  /** Also forgets sessions that expired before `now`. */
  open(session: AdminSession, now: number): Promise<void>;
  /** Expired ones included. */
  find(hash: string): Promise<AdminSession | undefined>;
  close(hash: string): Promise<void>;
}

/** An engine elsewhere, as an administrator registered it. */
export interface EngineRecord {
  /** Unique; shown in usage rows where the engine does not tell a name. */
  name: string;
  /** http or https; "link:" for one that dials in. */
  url: string;
  /** Bearer token the engine asks for. */
  token?: string;
  /** Share of the work it gets among equals; 1 is usual. */
  weight: number;
  /** Takes no new requests. */
  draining: boolean;
  createdAt: number;
}

/** Engines that administrators registered. */
export interface EngineStore {
  /** Oldest first. */
  list(): Promise<EngineRecord[]>;
  /** Adds it, or replaces the one of that name. */
  put(engine: EngineRecord): Promise<void>;
  /** False when there is none of that name. */
  remove(name: string): Promise<boolean>;
}

/** A GPU as found on this machine. Bytes; unknown is left out. */
export interface GpuReading {
  name: string;
  vramBytesTotal: number;
  vramBytesFree?: number;
  driverVersion?: string;
  /** By which a process can be told to use it. */
  uuid?: string;
}

export interface HardwareReading {
  cpu: { name: string; coresPhysical: number; coresUsable: number };
  ramBytesTotal: number;
  ramBytesFree: number;
  gpus: GpuReading[];
  /** The compute backend llama.cpp would use. */
  backend: "cpu" | "cuda" | "vulkan" | "metal" | "rocm";
}

export interface HardwareProbe {
  read(): Promise<HardwareReading>;
}

/** A clock that can wait; tests advance it by hand. */
export interface Timer extends Clock {
  /** Resolves after `ms` milliseconds, or at once when the signal aborts. Never rejects. */
  wait(ms: number, signal?: AbortSignal): Promise<void>;
}

/** What a chat platform accepts. Characters are UTF-16 units, the strictest way anyone counts. */
export interface ChatPlatformLimits {
  messageCharsMax: number;
  fileBytesMax: number;
  /** Least time between two writes of one answer, milliseconds. */
  editIntervalMsMin: number;
  buttonsPerMessageMax: number;
}

/** How the platform writes what Markdown has no word for. Each takes and gives a whole block of text. */
export interface ChatMarkup {
  quote(text: string): string;
  /** Small print under an answer. */
  subtext(text: string): string;
  /** Text shown only after a click; where the platform has no such thing, set apart in another way. */
  spoiler(text: string): string;
  /** A person by the platform's id, shown by name. */
  person(userId: string): string;
}

export interface ChatPlatform {
  readonly name: UsageSource;
  readonly limits: ChatPlatformLimits;
  readonly markup: ChatMarkup;
  readonly commands: ChatCommandStyle;
}

/** How people call the bot's commands on a platform, for what the bot says of them. */
export interface ChatCommandStyle {
  /** Names of commands and options are shown in the caller's language; else the English ones are all there is. */
  localized: boolean;
  /** Options have fields of their own; else they are typed behind the command, flags with two hyphens. */
  fields: boolean;
  /** How one goes on from an answer. */
  followUps: "replies" | "threads";
}

export interface ChatButton {
  /** Comes back when pressed; at most 90 characters. */
  id: string;
  label: string;
  emoji?: string;
  /** "quiet": the emoji alone is enough where room is short. */
  tone: "neutral" | "danger" | "quiet";
}

export interface ChatFile {
  name: string;
  contentType: string;
  bytes: Uint8Array;
  /** What a picture shows, for those who cannot see it. */
  description?: string;
}

/** An answer's page in parts, for platforms that let a text grow and show a status beside it. */
export interface ChatAnswerPart {
  /** The page without its small print; while waiting, the status shown in its place. */
  text: string;
  /** Small print and failure, as they stand at the end of the page. */
  tail: string;
  /** "written": this page changes no more, the answer goes on in the next one. */
  state: "waiting" | "writing" | "written" | "ended";
}

/** A message to write. Nobody is ever notified by what stands in it. */
export interface ChatPost {
  /** Markdown of at most `messageCharsMax` characters. */
  text: string;
  /** The same text in parts, when it is an answer's. */
  answer?: ChatAnswerPart;
  /** In an edit: left out keeps the buttons, an empty list removes them. */
  buttons?: readonly ChatButton[];
  /** In an edit: added to the message. */
  files?: readonly ChatFile[];
}

/** A message this process wrote. Its methods fail with `ChatPlatformError`. */
export interface PostedMessage {
  readonly id: string;
  edit(post: ChatPost): Promise<void>;
  delete(): Promise<void>;
}

/** Where an answer is written: a channel, a thread, or the reply to one command. */
export interface ChatPlace {
  readonly platform: ChatPlatform;
  /** When writing here stops working, milliseconds since the epoch; absent: never. */
  readonly expiresAt?: number;
  /** Where to go on when this place expires or refuses; undefined when there is nowhere. */
  successor(): Promise<ChatPlace | undefined>;
  post(post: ChatPost): Promise<PostedMessage>;
  /** Shows for some seconds that work goes on, where the platform can; never fails. */
  typing(): Promise<void>;
}

export type FeedbackVote = "up" | "down";

/** A thumb under an answer, with what is known of the answer. */
export interface Feedback {
  /** Request id of the answer; a second vote of the same user on it replaces the first. */
  answerId: string;
  source: UsageSource;
  userId: string;
  vote: FeedbackVote;
  /** Milliseconds since the epoch. */
  at: number;
  model?: string;
  quantization?: string;
  timeToFirstTokenMs?: number;
  completionTokensPerSecond?: number;
}

/** Settings of one channel; absent means the default. */
export interface ChannelSettings {
  model?: string;
  persona?: string;
}

/** What the bots remember over a restart. Channel ids are unique within a source. */
export interface BotStateStore {
  channelSettings(source: UsageSource, channelId: string): Promise<ChannelSettings>;
  /** Sets the given members; undefined removes one. */
  setChannelSettings(
    source: UsageSource,
    channelId: string,
    change: { [Key in keyof ChannelSettings]: ChannelSettings[Key] | undefined },
  ): Promise<void>;
  recordFeedback(feedback: Feedback): Promise<void>;
  /** Votes since `since`, per model; votes on answers whose model is not known count under "". */
  feedbackTotals(since: number): Promise<{ model: string; up: number; down: number }[]>;
  /** From now on nothing this user said in this channel before `at` is used. */
  forget(source: UsageSource, channelId: string, userId: string, at: number): Promise<void>;
  /** User id to the time before which their messages in this channel are forgotten. */
  forgottenMarks(source: UsageSource, channelId: string): Promise<Map<string, number>>;
}

/** What the bots have acted on, over a restart. */
export interface EventClaims {
  /**
   * Claims all of these keys, or none when one of them was claimed before. Of several callers at once one succeeds.
   *
   * @param keys one to four names of the same event, such as its id and its message
   * @returns whether the event is the caller's to act on
   */
  claim(source: UsageSource, keys: readonly string[], at: number): Promise<boolean>;
  isClaimed(source: UsageSource, key: string): Promise<boolean>;
  /** Forgets what was claimed before this time. */
  forgetClaims(before: number): Promise<void>;
}

/** What workspaces that installed the bot entrusted to it, encrypted by the caller, over a restart. */
export interface InstallationStore {
  teamIds(): Promise<string[]>;
  read(teamId: string): Promise<string | undefined>;
  /** Replaces what the workspace had before. */
  write(teamId: string, sealed: string, at: number): Promise<void>;
  remove(teamId: string): Promise<void>;
}
