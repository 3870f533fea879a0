/** The ledger of an API elsewhere, as far as its key may read it. */
import { AppError, ERROR_CODES } from "../core/errors.ts";
import type { UsageQuery, UsageRow, UsageStore, UsageTotals } from "../core/ports.ts";

/** The ledger is read for a person who waits for a chat reply. */
const usageMsMax = 10_000;

export interface ApiAccess {
  /** Address without /v1. */
  url: string;
  key: string;
}

/** Keys without the admin scope read their own rows alone. Throws `AppError`. */
export function createUsageOverHttp({ url, key }: ApiAccess): Pick<UsageStore, "rows" | "totals"> {
  const read = async (query: UsageQuery): Promise<{ rows: UsageRow[]; totals: UsageTotals }> => {
    const parameters = new URLSearchParams();
    if (query.since !== undefined) parameters.set("since", String(query.since));
    if (query.until !== undefined) parameters.set("until", String(query.until));
    if (query.userId !== undefined) parameters.set("user", query.userId);
    if (query.limit !== undefined) parameters.set("limit", String(query.limit));
    const reply = await fetch(`${url.replace(/\/+$/, "")}/v1/usage?${parameters}`, {
      headers: { authorization: `Bearer ${key}` },
      signal: AbortSignal.timeout(usageMsMax),
    }).catch((cause) => {
      throw new AppError("engine_unavailable", "The API could not be reached; is it running?", { cause });
    });
    if (!reply.ok) throw await errorOf(reply);
    return (await reply.json()) as { rows: UsageRow[]; totals: UsageTotals };
  };
  return {
    rows: async (query) => (await read(query)).rows,
    totals: async (query) => (await read({ ...query, limit: 1 })).totals,
  };
}

/** Our own API names the code, in OpenAI's shape or as a problem. */
async function errorOf(reply: Response): Promise<AppError> {
  const body = (await reply.json().catch(() => ({}))) as { error?: { code?: unknown }; type?: unknown };
  const named = body.error?.code ?? String(body.type ?? "").replace("urn:snug:error:", "");
  const code = ERROR_CODES.find((known) => known === named) ?? "engine_unavailable";
  return new AppError(code, `The API answered ${reply.status} to a question about usage.`);
}
