/** Web API calls by Bolt's client; nobody else looks at the library's error classes. */
import { LogLevel, webApi } from "@slack/bolt";
import { ChatPlatformError } from "../platform-error.ts";
import type { CallResult, SendCall } from "./calls.ts";
import { brokenCall, hastyCall, refusedCall, toPlatformError } from "./errors.ts";

/** Answers have their own patience; a hidden repetition would only show them late. */
export function boltClientOptions(apiUrl: string | undefined) {
  return {
    ...(apiUrl === undefined ? {} : { slackApiUrl: apiUrl }),
    retryConfig: { retries: 0 },
    rejectRateLimitedCalls: true,
    logLevel: LogLevel.ERROR,
  };
}

/**
 * @param token undefined for methods that take none
 * @param apiUrl base of the Web API with a slash at the end; undefined is Slack's own
 */
export function boltCalls(token: string | undefined, apiUrl?: string): SendCall {
  const client = new webApi.WebClient(token, boltClientOptions(apiUrl));
  return async (method, args) => {
    try {
      return (await client.apiCall(method, args)) as CallResult;
    } catch (thrown) {
      throw translateBolt(thrown);
    }
  };
}

export function translateBolt(thrown: unknown): ChatPlatformError {
  if (thrown instanceof webApi.WebAPIPlatformError) return refusedCall(thrown.data.error, thrown);
  if (thrown instanceof webApi.WebAPIRateLimitedError) return hastyCall(thrown.retryAfter * 1000, thrown);
  if (thrown instanceof webApi.WebAPIHTTPError) return brokenCall(thrown.statusCode, thrown);
  if (thrown instanceof webApi.WebAPIRequestError) {
    return new ChatPlatformError("unavailable", `Slack could not be reached: ${thrown.message}`, { cause: thrown });
  }
  return toPlatformError(thrown);
}
