/** Quotas of one key on Workers: a Durable Object counts for all isolates, so no two of them let in what is one too many. */
import { type Admission, createQuotaBook, type QuotaBook, QuotaRefusal } from "../api/quota.ts";
import { createUsageStore } from "../api/usage/store.ts";
import { AppError, type ErrorFacts, toAppError } from "../core/errors.ts";
import { answerMsMax } from "../core/limits.ts";
import type { ApiKey } from "../core/ports.ts";
import { createD1Database } from "./d1.ts";
import type { WorkerEnvironment } from "./worker-environment.ts";
import { workerLogger } from "./worker-logger.ts";
import type { ObjectNamespace, ObjectState } from "./workers-runtime.ts";

/** What was let in and has not ended; whoever ends the answer shows it. */
export interface QuotaTicket {
  keyId: string;
  ticket: string;
}

interface Held {
  admission: Admission;
  at: number;
}

export class KeyQuota {
  readonly #book: QuotaBook;
  readonly #held = new Map<string, Held>();

  constructor(_state: ObjectState, environment: WorkerEnvironment) {
    const usageStore = createUsageStore(createD1Database(environment.DB));
    this.#book = createQuotaBook({ usageStore, clock: { now: () => Date.now() } });
  }

  async fetch(request: Request): Promise<Response> {
    try {
      const { pathname } = new URL(request.url);
      if (pathname === "/admit") return Response.json(await this.#admit((await request.json()) as AdmitAsked));
      this.#settle((await request.json()) as { ticket: string; tokens: number });
      return Response.json({});
    } catch (thrown) {
      const error = toAppError(thrown);
      if (error.code === "internal") workerLogger.error("A quota could not be counted.", { cause: thrown });
      const headers = thrown instanceof QuotaRefusal ? thrown.headers : {};
      return Response.json({ error: error.toFacts(), headers }, { status: error.status });
    }
  }

  async #admit({ key, userId, promptTokens }: AdmitAsked): Promise<AdmitReply> {
    this.#forgetLost();
    const admission = await this.#book.admit(key, userId, promptTokens);
    const ticket = crypto.randomUUID();
    this.#held.set(ticket, { admission, at: Date.now() });
    return { ticket, headers: admission.headers };
  }

  #settle({ ticket, tokens }: { ticket: string; tokens: number }): void {
    // Unknown after a sleep: the ledger, which has the tokens by now, is counted at the next request.
    this.#held.get(ticket)?.admission.settle(tokens);
    this.#held.delete(ticket);
  }

  /** An isolate that died never says that its answer ended. Oldest first, as they came. */
  #forgetLost(): void {
    for (const [ticket, { admission, at }] of this.#held) {
      if (Date.now() - at < answerMsMax) return;
      admission.settle(0);
      this.#held.delete(ticket);
    }
  }
}

interface AdmitAsked {
  key: ApiKey;
  userId?: string;
  promptTokens: number;
}

interface AdmitReply {
  ticket: string;
  headers: Record<string, string>;
}

/** The book of all keys, each kept by its object. Keys without limits ask nobody. */
export function createObjectQuotas(quotas: ObjectNamespace): QuotaBook {
  return {
    async admit(key, userId, promptTokens) {
      if (key.limits === undefined && key.userLimits === undefined) return { headers: {}, settle: () => {} };
      const asked: AdmitAsked = { key, promptTokens, ...(userId === undefined ? {} : { userId }) };
      const reply = await post(quotas, key.id, "/admit", asked);
      if (!reply.ok) {
        const { error, headers = {} } = (await reply.json()) as { error: ErrorFacts; headers?: Record<string, string> };
        const refusal = AppError.fromFacts(error);
        throw Object.keys(headers).length === 0 ? refusal : new QuotaRefusal(refusal, headers);
      }
      const { ticket, headers } = (await reply.json()) as AdmitReply;
      let settled = false;
      return {
        headers,
        ticket: { keyId: key.id, ticket },
        async settle(tokens) {
          if (settled) return;
          settled = true;
          await settleTicket(quotas, { keyId: key.id, ticket }, tokens);
        },
      };
    },
  };
}

/** Never rejects: what is not counted here is counted from the ledger. */
export async function settleTicket(
  quotas: ObjectNamespace,
  { keyId, ticket }: QuotaTicket,
  tokens: number,
): Promise<void> {
  await post(quotas, keyId, "/settle", { ticket, tokens }).catch((cause) =>
    workerLogger.warn("A quota was not told of an answer's end.", { cause }),
  );
}

function post(quotas: ObjectNamespace, keyId: string, path: string, body: unknown): Promise<Response> {
  return quotas
    .get(quotas.idFromName(keyId))
    .fetch(`http://quota${path}`, { method: "POST", body: JSON.stringify(body) });
}
