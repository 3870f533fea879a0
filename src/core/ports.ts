/** The seams between rooms. Types only: what an implementation must keep is said here and checked by test/contract. */
import type { ChatEvent, ChatRequest, FinishReason, Timings, Usage } from "./chat.ts";
import type { ErrorCode } from "./errors.ts";

/**
 * Something that answers chats: the llama child, an HTTP client, a router over others, a scripted fake.
 *
 * `chat` never throws for operating failures: it ends with an `error` event. Aborting the signal, or leaving the
 * iteration early, frees the slot; an aborted stream still being read ends with `cancelled`.
 */
export interface ChatEngine {
  chat(request: ChatRequest, options: { signal: AbortSignal }): AsyncIterable<ChatEvent>;
  /** Models it can answer with right now. Throws `AppError` when it cannot be reached. */
  models(): Promise<ModelListing[]>;
  /** Cheap, no inference. */
  health(): Promise<EngineHealth>;
}

export interface ModelListing {
  id: string;
  quantization?: string;
  parameterCount?: number;
  /** Context per sequence it is loaded with. */
  contextLength?: number;
  contextLengthTrained?: number;
  fileBytes?: number;
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
}

export interface UsageTotals {
  requests: number;
  aborted: number;
  failed: number;
  promptTokens: number;
  completionTokens: number;
  cachedPromptTokens: number;
}

/** The ledger: Drizzle over SQLite or D1, same suite. */
export interface UsageStore {
  admit(admission: UsageAdmission): Promise<void>;
  /** Idempotent: a second receipt for the same id changes nothing. */
  settle(receipt: UsageReceipt): Promise<void>;
  /** Newest first. */
  rows(query: UsageQuery): Promise<UsageRow[]>;
  totals(query: UsageQuery): Promise<UsageTotals>;
}

export type KeyScope = "chat" | "fits" | "usage" | "admin";

export interface ApiKey {
  id: string;
  name: string;
  scopes: KeyScope[];
  /** First characters of the hash, safe to show. */
  fingerprint: string;
  createdAt: number;
  revokedAt?: number;
}

/** API keys by hash; the secret itself is never stored. */
export interface KeyStore {
  findByHash(hash: string): Promise<ApiKey | undefined>;
  insert(key: ApiKey & { hash: string }): Promise<void>;
  count(): Promise<number>;
}

/** A GPU as found on this machine. Bytes; unknown is left out. */
export interface GpuReading {
  name: string;
  vramBytesTotal: number;
  vramBytesFree?: number;
  driverVersion?: string;
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
