/** Answers fit questions for whoever serves an API, on Node and on Workers alike. */
import type { FitDesk } from "../api/app.ts";
import { AppError, ERROR_CODES, type ErrorCode } from "../core/errors.ts";
import { hubHeaderMsMax } from "../core/limits.ts";
import { answerFitsRequest } from "../fit/door.ts";
import { loadRemoteGguf } from "../fit/gguf-load.ts";

export interface FitDeskOptions {
  fetch?: typeof fetch;
  /** Default: Hugging Face. */
  hubUrl?: string;
}

/**
 * Anybody may ask the API, so it opens nothing by name but models on the hub: no file of this machine, and no address
 * in the network it stands in.
 */
export function createFitDesk(options: FitDeskOptions = {}): FitDesk {
  const hub = {
    // Workers want their fetch called as a plain function.
    fetch: (url: string, init: RequestInit) => (options.fetch ?? fetch)(url, init),
    ...(options.hubUrl === undefined ? {} : { hubUrl: options.hubUrl }),
  };

  const loadGguf = (location: string) =>
    loadRemoteGguf(location, { ...hub, signal: AbortSignal.timeout(hubHeaderMsMax) });

  const answer = async (body: unknown): Promise<object> => {
    const reply = await answerFitsRequest(body, { loadGguf });
    if (!("error" in reply)) return reply;
    const { code, message, param, details } = reply.error;
    throw new AppError(knownCode(code), message, {
      ...(param === null ? {} : { param }),
      ...(details === undefined ? {} : { details }),
    });
  };

  return { answerQuery: (query) => answer({ query }), answerRequest: answer };
}

function knownCode(code: string): ErrorCode {
  return ERROR_CODES.find((known) => known === code) ?? "internal";
}
