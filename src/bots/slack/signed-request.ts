/**
 * A request of Slack's, read once it is sure to be one: signatures are checked over the raw body in constant time, and
 * the time of signing in both directions.
 */
import { signedBodyBytesMax, signedTimestampMsMax } from "../../core/limits.ts";
import type { Clock, Logger } from "../../core/ports.ts";
import { bytesOfHex } from "../hex.ts";

export interface SlackRequestOptions {
  signingSecret: string;
  timer: Clock;
  logger: Logger;
}

/** What is to be acted on, or what the request is answered at once. */
export type SlackRequest = { body: Record<string, unknown> } | { answer: Response };

const algorithm = { name: "HMAC", hash: "SHA-256" };

export function createSlackRequestReader(options: SlackRequestOptions): (request: Request) => Promise<SlackRequest> {
  const isSigned = createSignatureCheck(options);
  return async (request) => {
    if (request.method !== "POST") return { answer: refuse(405, "Slack sends POST requests here.") };
    const announced = Number(request.headers.get("content-length") ?? 0);
    if (announced > signedBodyBytesMax) return { answer: refuse(413, "Too large.") };
    const raw = new Uint8Array(await request.arrayBuffer());
    if (raw.length > signedBodyBytesMax) return { answer: refuse(413, "Too large.") };
    if (!(await isSigned(request.headers, raw))) {
      options.logger.warn("a request without Slack's signature was refused");
      return { answer: refuse(401, "The signature is not Slack's.") };
    }
    const body = readBody(new TextDecoder().decode(raw), request.headers.get("content-type") ?? "");
    if (body === undefined) return { answer: refuse(400, "The body could not be read.") };
    if ("ssl_check" in body) return { answer: new Response("") };
    if (body.type === "url_verification") return { answer: Response.json({ challenge: body.challenge }) };
    return { body };
  };
}

function createSignatureCheck({ signingSecret, timer }: SlackRequestOptions) {
  const encoder = new TextEncoder();
  let key: ReturnType<typeof crypto.subtle.importKey> | undefined;
  return async (headers: Headers, raw: Uint8Array): Promise<boolean> => {
    const timestamp = headers.get("x-slack-request-timestamp") ?? "";
    const signature = /^v0=([0-9a-f]{64})$/.exec(headers.get("x-slack-signature") ?? "")?.[1];
    const bytes = bytesOfHex(signature ?? "", 32);
    if (bytes === undefined || !/^\d{1,12}$/.test(timestamp)) return false;
    if (Math.abs(timer.now() - Number(timestamp) * 1000) > signedTimestampMsMax) return false;
    key ??= crypto.subtle.importKey("raw", encoder.encode(signingSecret), algorithm, false, ["verify"]);
    const head = encoder.encode(`v0:${timestamp}:`);
    const signed = new Uint8Array(head.length + raw.length);
    signed.set(head);
    signed.set(raw, head.length);
    // Compares in constant time.
    return await crypto.subtle.verify("HMAC", await key, bytes, signed);
  };
}

export function refuse(status: number, text: string): Response {
  return new Response(text, { status });
}

/** Events are JSON, commands a form, and everything interactive a form with JSON in `payload`. */
function readBody(raw: string, contentType: string): Record<string, unknown> | undefined {
  try {
    if (!contentType.startsWith("application/x-www-form-urlencoded")) return toObject(JSON.parse(raw));
    const form = Object.fromEntries(new URLSearchParams(raw));
    return form.payload === undefined ? form : toObject(JSON.parse(form.payload));
  } catch {
    return undefined;
  }
}

function toObject(value: unknown): Record<string, unknown> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}
