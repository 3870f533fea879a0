/** Comparisons on the engines behind an API elsewhere, as far as its key may ask for them. */
import type { ComparePort } from "../bots/compare-run.ts";
import { AppError, ERROR_CODES } from "../core/errors.ts";
import { compareReplyMsMax } from "../core/limits.ts";
import type { CompareJob } from "../fit/compare-report.ts";
import type { ApiAccess } from "./usage-over-http.ts";

/**
 * Throws `AppError`.
 *
 * @param send of runtimes where the API is not reached over the network
 */
export function createCompareOverHttp(
  { url, key }: ApiAccess,
  send: (url: string, init: RequestInit) => Promise<Response> = (input, init) => fetch(input, init),
): ComparePort {
  const ask = async (method: string, path: string, body?: object): Promise<CompareJob> => {
    const reply = await send(`${url.replace(/\/+$/, "")}/v1/compare${path}`, {
      method,
      headers: {
        authorization: `Bearer ${key}`,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(compareReplyMsMax),
    }).catch((cause) => {
      throw new AppError("engine_unavailable", "The API could not be reached; is it running?", { cause });
    });
    if (!reply.ok) throw await errorOf(reply);
    return (await reply.json()) as CompareJob;
  };
  return {
    start: (request) => ask("POST", "", request),
    look: (id) => ask("GET", `/${encodeURIComponent(id)}`),
    cancel: (id) => ask("DELETE", `/${encodeURIComponent(id)}`),
  };
}

/** Our own API tells the code as a problem. */
async function errorOf(reply: Response): Promise<AppError> {
  const body = (await reply.json().catch(() => ({}))) as { type?: unknown; detail?: unknown };
  const named = String(body.type ?? "").replace("urn:snug:error:", "");
  const code = ERROR_CODES.find((known) => known === named) ?? "engine_unavailable";
  const said = typeof body.detail === "string" ? body.detail.slice(0, 500) : `The API answered ${reply.status}.`;
  return new AppError(code, said);
}
