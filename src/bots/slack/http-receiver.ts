/**
 * Slack's requests by HTTP, as a plain function from request to response, for any server. Signatures are checked over
 * the raw body in constant time, and the time of signing in both directions.
 */
import type { App, Receiver } from "@slack/bolt";
import { slackBodyBytesMax, slackTimestampMsMax } from "../../core/limits.ts";
import type { Logger, Timer } from "../../core/ports.ts";

export interface SlackHttpOptions {
  signingSecret: string;
  timer: Timer;
  logger: Logger;
}

/** Slack gives up on a request after this long and sends it again. */
const ackMsMax = 3_000;

export class SlackHttpReceiver implements Receiver {
  readonly #options: SlackHttpOptions;
  #app: App | undefined;

  constructor(options: SlackHttpOptions) {
    this.#options = options;
  }

  init(app: App): void {
    this.#app = app;
  }

  async start(): Promise<void> {}

  async stop(): Promise<void> {}

  /** Answers one request of Slack's. Never rejects. */
  async fetch(request: Request): Promise<Response> {
    if (request.method !== "POST") return refuse(405, "Slack sends POST requests here.");
    if (Number(request.headers.get("content-length") ?? 0) > slackBodyBytesMax) return refuse(413, "Too large.");
    const raw = await request.text();
    if (raw.length > slackBodyBytesMax) return refuse(413, "Too large.");
    if (!(await this.#isSigned(request, raw))) {
      this.#options.logger.warn("a request without Slack's signature was refused");
      return refuse(401, "The signature is not Slack's.");
    }
    const body = readBody(raw, request.headers.get("content-type") ?? "");
    if (body === undefined) return refuse(400, "The body could not be read.");
    if ("ssl_check" in body) return new Response("");
    if (body.type === "url_verification") return Response.json({ challenge: body.challenge });
    return await this.#process(body, request.headers);
  }

  async #process(body: Record<string, unknown>, headers: Headers): Promise<Response> {
    const app = this.#app;
    if (app === undefined) return refuse(503, "Not started yet.");
    const { timer, logger } = this.#options;
    const retryNum = headers.get("x-slack-retry-num");
    const retryReason = headers.get("x-slack-retry-reason");
    const settled = new AbortController();
    const acknowledged = new Promise<Response>((resolve) => {
      const processed = app.processEvent({
        body,
        ack: async (response?: unknown) => {
          resolve(toResponse(response));
          settled.abort();
        },
        ...(retryNum === null ? {} : { retryNum: Number(retryNum) }),
        ...(retryReason === null ? {} : { retryReason }),
      });
      processed.catch((thrown: unknown) => {
        logger.error("a Slack request could not be handled", { error: String(thrown) });
        resolve(refuse(500, "Not handled."));
        settled.abort();
      });
    });
    const late = timer.wait(ackMsMax, settled.signal).then(() => refuse(404, "Nobody answered in time."));
    const response = await Promise.race([acknowledged, late]);
    settled.abort();
    return response;
  }

  async #isSigned(request: Request, raw: string): Promise<boolean> {
    const { signingSecret, timer } = this.#options;
    const timestamp = request.headers.get("x-slack-request-timestamp") ?? "";
    const signature = /^v0=([0-9a-f]{64})$/.exec(request.headers.get("x-slack-signature") ?? "")?.[1];
    if (signature === undefined || !/^\d{1,12}$/.test(timestamp)) return false;
    if (Math.abs(timer.now() - Number(timestamp) * 1000) > slackTimestampMsMax) return false;
    const encoder = new TextEncoder();
    const algorithm = { name: "HMAC", hash: "SHA-256" };
    const key = await crypto.subtle.importKey("raw", encoder.encode(signingSecret), algorithm, false, ["verify"]);
    const bytes = Uint8Array.from(signature.match(/../g)!, (pair) => Number.parseInt(pair, 16));
    // Compares in constant time.
    return await crypto.subtle.verify("HMAC", key, bytes, encoder.encode(`v0:${timestamp}:${raw}`));
  }
}

function refuse(status: number, text: string): Response {
  return new Response(text, { status });
}

function toResponse(response: unknown): Response {
  if (response === undefined || response === "") return new Response("");
  return typeof response === "string" ? new Response(response) : Response.json(response);
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
