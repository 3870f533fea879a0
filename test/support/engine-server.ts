/** Any chat engine on our wire at a real port: the smallest server there is. */
import type { Server } from "node:http";
import { serve } from "@hono/node-server";
import { Hono } from "hono";
import { toAppError } from "../../src/core/errors.ts";
import type { ChatEngine } from "../../src/core/ports.ts";
import { parseChatCall } from "../../src/http/chat-request.ts";
import { readJsonBody } from "../../src/http/json-body.ts";
import { renderModels } from "../../src/http/models.ts";
import { answerChat, respondWithError } from "../../src/http/server.ts";

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

export function serveEngine(engine: ChatEngine): Promise<Listening> {
  const app = new Hono();
  app.onError((error) => respondWithError(toAppError(error)));
  app.get("/health", async (context) => context.json(await engine.health()));
  app.get("/v1/models", async (context) => context.json(renderModels(await engine.models(), 0)));
  app.post("/v1/chat/completions", async (context) => {
    const call = parseChatCall(await readJsonBody(context.req.raw));
    const clientSignal = context.req.raw.signal;
    const options = { id: "chatcmpl-0", created: 0, clientSignal };
    return answerChat(call, (signal) => engine.chat(call.request, { signal }), options);
  });
  return listenLocally((request) => app.fetch(request));
}
