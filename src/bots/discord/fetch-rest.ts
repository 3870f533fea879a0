/** Discord's REST interface by fetch alone, for Workers: no library, no gateway. */
import type { Timer } from "../../core/ports.ts";
import { ChatPlatformError } from "../platform-error.ts";
import { reasonOf } from "./error-reasons.ts";
import type { CallOptions, DiscordRest } from "./place.ts";
import type { WireFile } from "./wire.ts";

export interface FetchRestOptions {
  /** Bot token; webhooks of interactions do without. */
  token?: string;
  /** Base without version; default Discord's own. */
  apiUrl?: string;
  fetch: typeof fetch;
  timer: Timer;
}

const discordApiUrl = "https://discord.com/api";
/** Discord asks for a name and an address in this form, and refuses requests without. */
const userAgent = "DiscordBot (https://www.npmjs.com/package/snug, 1)";
/** One write takes well under a second; one that hangs must not keep an answer from its end. */
const callMsMax = 15_000;
/** Refusals for haste that are waited out here; longer ones are the caller's matter. */
const hasteTriesMax = 3;
const hasteWaitMsMax = 5_000;

type Method = "GET" | "POST" | "PATCH" | "DELETE";

/** Every method throws ChatPlatformError, and returns undefined for a reply without a body. */
export class FetchRest implements DiscordRest {
  readonly #options: FetchRestOptions;
  readonly get: DiscordRest["get"];
  readonly post: DiscordRest["post"];
  readonly patch: DiscordRest["patch"];
  readonly delete: DiscordRest["delete"];

  constructor(options: FetchRestOptions) {
    this.#options = options;
    const method = (name: Method) => (path: `/${string}`, call?: CallOptions) => this.#call(name, path, call);
    this.get = method("GET");
    this.post = method("POST");
    this.patch = method("PATCH");
    this.delete = method("DELETE");
  }

  async #call(method: Method, path: string, call: CallOptions = {}): Promise<unknown> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#callOnce(method, path, call);
      } catch (thrown) {
        const waitMs = thrown instanceof ChatPlatformError ? thrown.retryAfterMs : undefined;
        if (waitMs === undefined || waitMs > hasteWaitMsMax || tries >= hasteTriesMax) throw thrown;
        await this.#options.timer.wait(waitMs);
      }
    }
  }

  async #callOnce(method: Method, path: string, call: CallOptions): Promise<unknown> {
    const { apiUrl = discordApiUrl } = this.#options;
    const query = call.query === undefined ? "" : `?${call.query}`;
    const send = this.#options.fetch;
    try {
      const reply = await send(`${apiUrl}/v10${path}${query}`, {
        method,
        ...this.#content(call),
        signal: AbortSignal.timeout(callMsMax),
      });
      if (!reply.ok) throw await refusal(reply);
      return reply.status === 204 ? undefined : await reply.json();
    } catch (thrown) {
      if (thrown instanceof ChatPlatformError) throw thrown;
      const message = thrown instanceof Error ? thrown.message : String(thrown);
      throw new ChatPlatformError("unavailable", `Discord could not be reached: ${message}`, { cause: thrown });
    }
  }

  #content({ body, files, auth }: CallOptions): { headers: Record<string, string>; body?: string | FormData } {
    const { token } = this.#options;
    const headers = {
      "user-agent": userAgent,
      ...(auth === false || token === undefined ? {} : { authorization: `Bot ${token}` }),
    };
    if (files !== undefined && files.length > 0) return { headers, body: formOf(body, files) };
    if (body === undefined) return { headers };
    return { headers: { ...headers, "content-type": "application/json" }, body: JSON.stringify(body) };
  }
}

/** For what else goes wrong around a call. */
export function asPlatformError(thrown: unknown): ChatPlatformError {
  if (thrown instanceof ChatPlatformError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new ChatPlatformError("invalid", `A Discord call failed in an unexpected way: ${message}`, { cause: thrown });
}

function formOf(body: unknown, files: readonly WireFile[]): FormData {
  const form = new FormData();
  form.set("payload_json", JSON.stringify(body ?? {}));
  for (const { key, name, data, contentType } of files) {
    form.set(key, new Blob([data as Uint8Array<ArrayBuffer>], { type: contentType }), name);
  }
  return form;
}

async function refusal(reply: Response): Promise<ChatPlatformError> {
  const body = (await reply.json().catch(() => ({}))) as { code?: unknown; message?: unknown; retry_after?: unknown };
  const code = typeof body.code === "number" && body.code > 0 ? body.code : undefined;
  const message = typeof body.message === "string" ? body.message : `Discord answered ${reply.status}`;
  const seconds = Number(body.retry_after ?? reply.headers.get("retry-after"));
  const retryAfterMs = reply.status === 429 && seconds > 0 ? Math.ceil(seconds * 1000) : undefined;
  return new ChatPlatformError(reasonOf(reply.status, code), message, {
    platformCode: code ?? reply.status,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}
