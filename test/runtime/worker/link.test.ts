/** Engines that dial in, inside workerd: the Durable Object that holds a link keeps the chat engine's contract. */
import { applyD1Migrations, reset } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import type { ChatEngine } from "../../../src/core/ports.ts";
import { systemTimer } from "../../../src/entries/timer.ts";
import { createObjectEngine } from "../../../src/entries/worker-engines.ts";
import { linkPong } from "../../../src/http/link-frames.ts";
import { serveLink } from "../../../src/http/link-serve.ts";
import { type AnswerLength, describeChatEngine } from "../../contract/chat-engine.ts";
import { FakeEngine, sayForever, sayWords } from "../../support/fake-engine.ts";

const text = "The fake engine says eight words in all.";

/** Dials the Worker as an engine would, without a network between. */
async function dial(engine: ChatEngine, name: string): Promise<{ close(): void }> {
  const response = await exports.default.fetch(`http://worker.test/v1/link?engine=${name}`, {
    headers: {
      upgrade: "websocket",
      "sec-websocket-protocol": "snug.link.1",
      authorization: `Bearer ${env.SNUG_ADMIN_KEY}`,
    },
  });
  const socket = response.webSocket;
  if (socket === null) throw new Error(`The Worker answered ${response.status}: ${await response.text()}`);
  socket.accept();
  await new Promise<void>((resolve) => {
    const serving = serveLink({
      engine,
      name,
      instance: crypto.randomUUID(),
      software: "test",
      timer: systemTimer,
      socket: { send: (message) => socket.send(message), close: (code, reason) => socket.close(code, reason) },
      onWelcome: resolve,
    });
    socket.addEventListener("message", ({ data }) => {
      if (data !== linkPong) serving.receive(String(data));
    });
    socket.addEventListener("close", () => serving.end());
  });
  return { close: () => socket.close(1000, "done") };
}

let ready: Promise<void> | undefined;

async function prepare(): Promise<void> {
  await reset();
  await applyD1Migrations(env.DB, env.MIGRATIONS);
}

describeChatEngine("an engine whose link a Durable Object holds", async (answer: AnswerLength) => {
  ready ??= prepare();
  await ready;
  const contextLength = answer === "finite" ? 64 : 1e9;
  const fake = new FakeEngine({
    models: [{ id: "fake", contextLength, loaded: true }],
    script: answer === "finite" ? sayWords(text) : sayForever,
  });
  const { close } = await dial(fake, answer);
  return {
    engine: createObjectEngine(answer, env.ENGINE_LINK),
    model: "fake",
    text,
    contextLength,
    close: async () => close(),
  };
});
