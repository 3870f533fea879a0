/** Reads model headers for whoever serves fit questions, on Node and on Workers alike. */
import type { FitDesk } from "../api/fits.ts";
import { hubHeaderMsMax } from "../core/limits.ts";
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
  return {
    loadGguf: (location) => loadRemoteGguf(location, { ...hub, signal: AbortSignal.timeout(hubHeaderMsMax) }),
  };
}
