/** Web API calls by fetch alone, for Workers. */
import { ChatPlatformError } from "../platform-error.ts";
import type { CallArguments, CallResult, SendCall } from "./calls.ts";
import { brokenCall, hastyCall, refusedCall } from "./errors.ts";

export interface FetchCallsOptions {
  token: string;
  /** Base of the Web API with a slash at the end; default Slack's own. */
  apiUrl?: string;
  fetch: typeof fetch;
}

const slackApiUrl = "https://slack.com/api/";
const callMsMax = 15_000;

export function fetchCalls({ token, apiUrl = slackApiUrl, fetch: send }: FetchCallsOptions): SendCall {
  return async (method, args) => {
    const reply = await send(`${apiUrl}${method}`, {
      method: "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/x-www-form-urlencoded" },
      body: formOf(args),
      signal: AbortSignal.timeout(callMsMax),
    }).catch((cause) => {
      throw unreachable(cause);
    });
    if (reply.status === 429) throw hastyCall(Math.max(1, Number(reply.headers.get("retry-after")) || 1) * 1000);
    const result = (await reply.json().catch(() => undefined)) as CallResult | undefined;
    if (typeof result?.ok !== "boolean") throw brokenCall(reply.status);
    if (!result.ok) throw refusedCall(String(result.error));
    return result;
  };
}

function unreachable(cause: unknown): ChatPlatformError {
  const message = cause instanceof Error ? cause.message : String(cause);
  return new ChatPlatformError("unavailable", `Slack could not be reached: ${message}`, { cause });
}

/** Slack takes nested values as JSON text inside form fields, for every method. */
function formOf(args: CallArguments): string {
  const form = new URLSearchParams();
  for (const [name, value] of Object.entries(args)) {
    if (value !== undefined) form.set(name, typeof value === "object" ? JSON.stringify(value) : String(value));
  }
  return form.toString();
}
