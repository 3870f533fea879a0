/** A request that was answered, for those who follow requests over several programs. */
import type { UsageAdmission, UsageReceipt } from "../core/ports.ts";

export interface AnsweredRequest {
  admission: UsageAdmission;
  receipt: UsageReceipt;
  /** W3C trace context as the client sent it. */
  traceparent?: string | undefined;
  /** What was asked of the model beside its text. */
  asked?: { maxTokens?: number; temperature?: number; topP?: number; topK?: number; seed?: number };
}

/** Called once for each row of the ledger that this process completes. Must not throw. */
export type AnswerObserver = (answered: AnsweredRequest) => void;
