/** Bindings and secrets of wrangler.toml. */
import type { UsageReceipt } from "../core/ports.ts";
import type { D1Binding } from "./d1.ts";
import type { ObjectNamespace, QueueBinding, RateLimitBinding } from "./workers-runtime.ts";

export interface WorkerEnvironment {
  DB: D1Binding;
  /** Engines that dial in, one object each, by name. */
  ENGINE_LINK: ObjectNamespace;
  /** Quotas, one object for each key that has any, by the key's id. */
  KEY_QUOTA: ObjectNamespace;
  /** Receipts the ledger did not take at once. */
  RECEIPTS: QueueBinding<UsageReceipt>;
  /** Requests of one address; against floods, not for quotas: it counts per location, and roughly. */
  ADDRESS_GUARD?: RateLimitBinding;
  /** Addresses of engines; without any there are fits, usage and health, but no chat until one is registered. */
  SNUG_ENGINE_URL?: string;
  SNUG_ENGINE_TOKEN?: string;
  /** "worker": answers of engines with an address are read in the Worker, which costs it CPU time and no object's time. */
  SNUG_RELAY?: string;
  /** "name=model|other-model,…" */
  SNUG_ALIASES?: string;
  /** Days the rows of the ledger are kept, at least 2; without it for good. */
  SNUG_USAGE_DAYS?: string;
  /** Seconds to the first word and to the end of an answer; without them as long as engines take. */
  SNUG_FIRST_TOKEN_TIMEOUT?: string;
  SNUG_ANSWER_TIMEOUT?: string;
  /** The admin key lives in the secret alone: changing the secret changes the key. */
  SNUG_ADMIN_KEY?: string;
}
