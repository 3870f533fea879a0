import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { serve } from "@hono/node-server";
import { createEngineApp } from "../../src/engine/app.ts";
import { sendOverHttp } from "../../src/entries/http-send.ts";
import { createHttpEngine } from "../../src/http/client.ts";
import type { HttpSend } from "../../src/http/transport.ts";
import { FakeEngine, sayForever, sayWords } from "../support/fake-engine.ts";
import { SCRIPT_LINES } from "../support/gguf/vocabulary.ts";
import { startEngine } from "../support/local-engine.ts";
import { type ChatEngineHarness, describeChatEngine } from "./chat-engine.ts";

const clock = { now: () => Date.now() };

/** The same engine as seen from the other end of a TCP connection. */
async function overHttp(inner: ChatEngineHarness, fetch?: HttpSend): Promise<ChatEngineHarness> {
  const logger = { debug() {}, info() {}, warn() {}, error: console.error };
  const app = createEngineApp({ engine: inner.engine, token: "secret", clock, logger });
  const server = await new Promise<Server>((resolve) => {
    const starting = serve({ fetch: app.fetch, hostname: "127.0.0.1", port: 0 }, () => resolve(starting as Server));
  });
  const { port } = server.address() as AddressInfo;
  return {
    ...inner,
    engine: createHttpEngine({
      baseUrl: `http://127.0.0.1:${port}`,
      token: "secret",
      clock,
      ...(fetch === undefined ? {} : { fetch }),
    }),
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await inner.close();
    },
  };
}

const fakeText = "The fake engine says eight words in all.";

describeChatEngine("an HTTP client of a scripted engine", (answer) => {
  const contextLength = answer === "finite" ? 64 : 1e9;
  return overHttp({
    engine: new FakeEngine({
      models: [{ id: "fake", contextLength, loaded: true }],
      script: answer === "finite" ? sayWords(fakeText) : sayForever,
    }),
    model: "fake",
    text: fakeText,
    contextLength,
    close: async () => {},
  });
});

describeChatEngine("an HTTP client of the local engine over Node's own sockets", async (answer) => {
  const { engine, close } = await startEngine(
    answer === "finite" ? { shape: "tiny", brain: "script" } : { shape: "small", brain: "endless" },
    { settings: { sequenceCount: 2 } },
  );
  const [model] = await engine.models();
  const inner = { engine, model: "tiny", text: SCRIPT_LINES[0], contextLength: model!.contextLength!, close };
  return overHttp(inner, sendOverHttp);
});
