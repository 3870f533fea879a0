/** Slack's requests by HTTP for Bolt, as a plain function from request to response, for any server. */
import type { App, Receiver } from "@slack/bolt";
import type { Timer } from "../../core/ports.ts";
import { createSlackRequestReader, refuse, type SlackRequestOptions } from "./signed-request.ts";

export interface SlackHttpOptions extends SlackRequestOptions {
  timer: Timer;
}

/** Slack gives up on a request after this long and sends it again. */
const ackMsMax = 3_000;

export class SlackHttpReceiver implements Receiver {
  readonly #options: SlackHttpOptions;
  readonly #read: ReturnType<typeof createSlackRequestReader>;
  #app: App | undefined;

  constructor(options: SlackHttpOptions) {
    this.#options = options;
    this.#read = createSlackRequestReader(options);
  }

  init(app: App): void {
    this.#app = app;
  }

  async start(): Promise<void> {}

  async stop(): Promise<void> {}

  /** Answers one request of Slack's. Never rejects. */
  async fetch(request: Request): Promise<Response> {
    const read = await this.#read(request);
    return "answer" in read ? read.answer : await this.#process(read.body, request.headers);
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
}

function toResponse(response: unknown): Response {
  if (response === undefined || response === "") return new Response("");
  return typeof response === "string" ? new Response(response) : Response.json(response);
}
