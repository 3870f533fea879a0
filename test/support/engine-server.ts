/** Any chat engine on our wire at a real port: the smallest server there is. */
import type { Server } from "node:http";
import { serve } from "@hono/node-server";
import { type Context, Hono } from "hono";
import { toAppError } from "../../src/core/errors.ts";
import type { ChatEngine } from "../../src/core/ports.ts";
import { type ChatCall, parseChatCall } from "../../src/http/chat-request.ts";
import { completionsDialect, parseCompletionCall } from "../../src/http/completions.ts";
import { readJsonBody } from "../../src/http/json-body.ts";
import { renderModels } from "../../src/http/models.ts";
import { type AnswerDialect, answerChat, respondWithError } from "../../src/http/server.ts";

export interface Listening {
  url: string;
  close(): Promise<void>;
}

/** Listens on a free port of the loopback address. */
export function listenLocally(fetch: (request: Request) => Response | Promise<Response>): Promise<Listening> {
  return new Promise((resolve) => {
    const server = serve({ fetch, port: 0, hostname: "127.0.0.1" }, ({ port }) =>
      resolve({
        url: `http://127.0.0.1:${port}`,
        close: () =>
          new Promise((closed) => {
            server.close(() => closed());
            server.closeAllConnections();
          }),
      }),
    ) as Server;
  });
}

/** @param more routes beside the wire's */
export function serveEngine(engine: ChatEngine, more?: (app: Hono) => void): Promise<Listening> {
  const app = new Hono();
  more?.(app);
  app.onError((error) => respondWithError(toAppError(error)));
  app.get("/health", async (context) => context.json(await engine.health()));
  app.get("/v1/models", async (context) => context.json(renderModels(await engine.models(), 0)));
  const answer = async (context: Context, parse: (body: unknown) => ChatCall, dialect?: AnswerDialect) => {
    const call = parse(await readJsonBody(context.req.raw));
    const clientSignal = context.req.raw.signal;
    const options = { id: "chatcmpl-0", created: 0, clientSignal, ...(dialect === undefined ? {} : { dialect }) };
    return answerChat(call, (signal) => engine.chat(call.request, { signal }), options);
  };
  app.post("/v1/chat/completions", (context) => answer(context, parseChatCall));
  app.post("/v1/completions", (context) => answer(context, parseCompletionCall, completionsDialect));
  return listenLocally((request) => app.fetch(request));
}
