/** GGUF headers over HTTP, by range requests: a few megabytes of a file of any size. */
import { AppError } from "../core/errors.ts";
import { ggufReadRetriesMax, ggufRequestsMax } from "../core/limits.ts";
import type { GgufHeader } from "./gguf.ts";
import type { ByteSource } from "./gguf-source.ts";
import { readGgufModel } from "./gguf-split.ts";

/** The part of `fetch` that is used; injected, so that tests and Workers bring their own. */
export type Fetch = (
  url: string,
  init: { headers: Record<string, string>; signal?: AbortSignal | null; redirect?: "follow" },
) => Promise<Response>;

export interface HttpOptions {
  fetch: Fetch;
  /** Gives up when aborted; slow servers have no other bound. */
  signal?: AbortSignal;
  /** Sent as a bearer token; `fetch` drops it when a redirect leads to another origin. */
  token?: string;
}

/**
 * Reads the header of a GGUF at a URL; the other parts of a split model are found beside it.
 *
 * @throws AppError model_file_invalid, model_not_found, permission_denied, rate_limit_exceeded or engine_unavailable.
 */
export async function openHttpGguf(url: string, options: HttpOptions): Promise<GgufHeader> {
  const parsed = parseHttpUrl(url);
  const slash = parsed.pathname.lastIndexOf("/");
  const file = decodeURIComponent(parsed.pathname.slice(slash + 1));
  return await readGgufModel(file, async (name) => {
    const sibling = new URL(parsed);
    sibling.pathname = parsed.pathname.slice(0, slash + 1) + encodeURIComponent(name);
    return httpSource(sibling.href, options);
  });
}

export function parseHttpUrl(url: string): URL {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed === undefined || (parsed.protocol !== "https:" && parsed.protocol !== "http:")) {
    throw new AppError("invalid_request", `${JSON.stringify(url.slice(0, 200))} is not an http or https address.`);
  }
  return parsed;
}

/** A file behind an address, as a byte source. Nothing is requested before the first read. */
export function httpSource(url: string, options: HttpOptions): ByteSource {
  return new HttpSource(url, options);
}

/** A body read front to back, with the bytes that were read and not yet asked for. */
interface WholeBody {
  body: ReadableStreamDefaultReader<Uint8Array>;
  at: number;
  rest: Uint8Array;
}

class HttpSource implements ByteSource {
  readonly name: string;
  readonly #url: string;
  readonly #options: HttpOptions;
  #size: number | undefined;
  #requests = 0;
  /** The running answer of a server that ignores ranges, read front to back instead. */
  #whole: WholeBody | undefined;

  constructor(url: string, options: HttpOptions) {
    this.#url = url;
    this.#options = options;
    const { origin, pathname } = parseHttpUrl(url);
    this.name = origin + pathname;
  }

  get size(): number | undefined {
    return this.#size;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    for (let failures = 0; ; failures++) {
      try {
        if (this.#whole !== undefined && this.#whole.at <= offset)
          return await this.#readWhole(this.#whole, offset, length);
        return await this.#readRange(offset, length);
      } catch (error) {
        this.#options.signal?.throwIfAborted();
        if (error instanceof AppError || failures === ggufReadRetriesMax) throw this.#failure(error);
        await this.close();
      }
    }
  }

  async close(): Promise<void> {
    const whole = this.#whole;
    this.#whole = undefined;
    // The connection may be broken already; there is nothing left to save.
    await whole?.body.cancel().catch(() => undefined);
  }

  async #readRange(offset: number, length: number): Promise<Uint8Array> {
    const { fetch, signal, token } = this.#options;
    this.#requests++;
    if (this.#requests > ggufRequestsMax) {
      throw new AppError("engine_unavailable", `${this.name} sends too little at a time. Try another server.`);
    }
    const headers: Record<string, string> = {
      range: `bytes=${offset}-${offset + length - 1}`,
      // Offsets are those of the file, not of a compressed stream.
      "accept-encoding": "identity",
    };
    if (token !== undefined) headers.authorization = `Bearer ${token}`;
    const response = await fetch(this.#url, {
      headers,
      redirect: "follow",
      ...(signal === undefined ? {} : { signal }),
    });
    if (response.status === 206) return await this.#readPartial(response, offset, length);
    if (response.status === 200 && response.body !== null) {
      this.#learnSize(wholeNumber(response.headers.get("content-length")));
      await this.close();
      this.#whole = { body: response.body.getReader(), at: 0, rest: new Uint8Array(0) };
      return await this.#readWhole(this.#whole, offset, length);
    }
    await response.body?.cancel();
    if (response.status === 416) {
      this.#learnSize(wholeNumber(/^bytes \*\/(\d+)$/.exec(response.headers.get("content-range") ?? "")?.[1]));
      return new Uint8Array(0);
    }
    throw statusError(response, this.name);
  }

  async #readPartial(response: Response, offset: number, length: number): Promise<Uint8Array> {
    const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get("content-range") ?? "");
    if (range === null || Number(range[1]) !== offset || response.body === null) {
      await response.body?.cancel();
      throw new AppError(
        "engine_unavailable",
        `${this.name} answered with another range than was asked for. Try another server.`,
      );
    }
    this.#learnSize(wholeNumber(range[2]));
    const body = response.body.getReader();
    const bytes = new Uint8Array(length);
    let have = 0;
    try {
      while (have < length) {
        const { done, value } = await body.read();
        if (done) break;
        const part = value.subarray(0, length - have);
        bytes.set(part, have);
        have += part.byteLength;
      }
    } catch (error) {
      // What came through counts; the next read goes on behind it.
      if (have === 0) throw error;
    }
    await body.cancel().catch(() => undefined);
    if (have === 0 && this.#size !== undefined && offset < this.#size) throw new TypeError("the answer was empty");
    return bytes.subarray(0, have);
  }

  async #readWhole(whole: WholeBody, offset: number, length: number): Promise<Uint8Array> {
    for (;;) {
      const from = offset - whole.at;
      if (from < whole.rest.byteLength) {
        const bytes = whole.rest.slice(from, from + length);
        whole.rest = whole.rest.subarray(from + bytes.byteLength);
        whole.at = offset + bytes.byteLength;
        return bytes;
      }
      whole.at += whole.rest.byteLength;
      whole.rest = new Uint8Array(0);
      const { done, value } = await whole.body.read();
      if (done) return whole.rest;
      whole.rest = value;
    }
  }

  #learnSize(size: number | undefined): void {
    if (size === undefined) return;
    if (this.#size !== undefined && this.#size !== size) {
      throw new AppError(
        "model_file_invalid",
        `${this.name} changed from ${this.#size} to ${size} bytes while it was read. Try again.`,
      );
    }
    this.#size = size;
  }

  #failure(error: unknown): AppError {
    if (error instanceof AppError) return error;
    return new AppError(
      "engine_unavailable",
      `${this.name} did not answer, or the connection broke several times. Try again later.`,
      {
        cause: error,
      },
    );
  }
}

/** A refusal by status, in our words. */
export function statusError(response: Pick<Response, "status" | "headers">, name: string): AppError {
  const { status } = response;
  if (status === 401 || status === 403) {
    return new AppError(
      "permission_denied",
      `${name} is not open to everyone (HTTP ${status}). Accept the model's terms there and give a token (HF_TOKEN), or check the name.`,
    );
  }
  if (status === 404 || status === 410) {
    return new AppError("model_not_found", `There is nothing at ${name} (HTTP ${status}). Check the name.`);
  }
  if (status === 429) {
    const seconds = wholeNumber(response.headers.get("retry-after"));
    return new AppError("rate_limit_exceeded", `${name} asks for fewer requests (HTTP 429). Wait a while.`, {
      retryAfterMs: Math.min(seconds ?? 60, 3600) * 1000,
    });
  }
  if (status >= 500) {
    return new AppError("engine_unavailable", `${name} has a fault of its own (HTTP ${status}). Try again later.`);
  }
  return new AppError("invalid_request", `${name} cannot be read (HTTP ${status}). Check the address.`);
}

function wholeNumber(text: string | null | undefined): number | undefined {
  if (text === null || text === undefined || !/^\d{1,15}$/.test(text)) return undefined;
  return Number(text);
}
