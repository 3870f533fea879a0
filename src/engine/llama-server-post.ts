/** Questions to one llama-server beside its chats: small, answered with JSON. */
import { setTimeout as delay } from "node:timers/promises";
import { asObject } from "../http/chat-wire.ts";
import { connectionError, errorOfReply } from "../http/engine-errors.ts";
import type { ServerProcess } from "./llama-server-process.ts";

/** @throws AppError of the server's own words, engine_unavailable when nobody answers */
export type ServerPost = (path: string, body: unknown, signal?: AbortSignal) => Promise<Record<string, unknown>>;

export function createServerPost({ baseUrl, key }: Pick<ServerProcess, "baseUrl" | "key">): ServerPost {
  const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
  return async (path, body, signal) => {
    try {
      const sent = { method: "POST", headers, body: JSON.stringify(body) };
      const reply = await fetch(baseUrl + path, signal === undefined ? sent : { ...sent, signal });
      if (!reply.ok) throw await errorOfReply(reply);
      return (await reply.json()) as Record<string, unknown>;
    } catch (thrown) {
      // What fetch itself throws: the connection, not an answer.
      throw thrown instanceof TypeError ? connectionError(thrown) : thrown;
    }
  };
}

/** Whether the model's template has a place for tools; the server leaves them out silently where it has none. */
export async function knowsTools({ baseUrl, key }: Pick<ServerProcess, "baseUrl" | "key">): Promise<boolean> {
  const reply = await fetch(`${baseUrl}/props`, { headers: { authorization: `Bearer ${key}` } }).catch(() => undefined);
  const props: unknown = await reply?.json().catch(() => undefined);
  // A server that does not tell is trusted.
  return asObject(asObject(props)?.chat_template_caps)?.supports_tools !== false;
}

/** Its JSON reader takes no half of a character, which JavaScript's texts may hold. */
export function wellFormed(text: string): string {
  return text.replace(/\p{Surrogate}/gu, "\uFFFD");
}

/** Its process has been reported by then, if that is what happened. */
const goneKnownMsMax = 5000;

/**
 * Resolves when the failure at hand was not the server's end. Where it was, this never resolves: our process ends with the
 * server, and the supervisor tells everybody and tries again for those that had not begun.
 */
export async function unlessGone({ baseUrl, exited }: Pick<ServerProcess, "baseUrl" | "exited">): Promise<void> {
  const reply = await fetch(`${baseUrl}/health`).catch(() => undefined);
  await reply?.arrayBuffer().catch(() => {});
  if (reply !== undefined) return;
  const ended = exited.then(() => new Promise<never>(() => {}));
  await Promise.race([ended, delay(goneKnownMsMax, undefined, { ref: false })]);
}
