/** The ledger of an API elsewhere, as far as its key may read it. */
import type { UsageReader } from "../bots/command-replies.ts";
import { AppError, ERROR_CODES } from "../core/errors.ts";

/** The ledger is read for a person who waits for a chat reply. */
const usageMsMax = 10_000;

export interface ApiAccess {
  /** Address without /v1. */
  url: string;
  key: string;
}

/** Keys without the admin scope read their own rows alone. Throws `AppError`. */
export function createUsageOverHttp({ url, key }: ApiAccess): UsageReader {
  return {
    async groups({ since, until, userId, keyId, group, limit }) {
      const parameters = new URLSearchParams({ group, limit: String(limit) });
      if (since !== undefined) parameters.set("since", String(since));
      if (until !== undefined) parameters.set("until", String(until));
      if (userId !== undefined) parameters.set("user", userId);
      if (keyId !== undefined) parameters.set("key", keyId);
      const reply = await fetch(`${url.replace(/\/+$/, "")}/v1/usage?${parameters}`, {
        headers: { authorization: `Bearer ${key}` },
        signal: AbortSignal.timeout(usageMsMax),
      }).catch((cause) => {
        throw new AppError("engine_unavailable", "The API could not be reached; is it running?", { cause });
      });
      if (!reply.ok) throw await errorOf(reply);
      return (await reply.json()) as Awaited<ReturnType<UsageReader["groups"]>>;
    },
  };
}

/** Our own API names the code, in OpenAI's shape or as a problem. */
async function errorOf(reply: Response): Promise<AppError> {
  const body = (await reply.json().catch(() => ({}))) as { error?: { code?: unknown }; type?: unknown };
  const named = body.error?.code ?? String(body.type ?? "").replace("urn:snug:error:", "");
  const code = ERROR_CODES.find((known) => known === named) ?? "engine_unavailable";
  return new AppError(code, `The API answered ${reply.status} to a question about usage.`);
}
