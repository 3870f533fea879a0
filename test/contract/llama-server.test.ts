import { describe } from "vitest";
import { SCRIPT_LINES } from "../support/gguf/vocabulary.ts";
import { findTestServer, noServerReason, serverProgram } from "../support/llama-server.ts";
import { startEngine } from "../support/local-engine.ts";
import { describeChatEngine } from "./chat-engine.ts";

const path = await findTestServer();
if (path === undefined) console.warn(`The contract on llama-server is ${noServerReason}.`);

describe.runIf(path !== undefined)("with a llama-server", () => {
  describeChatEngine("the engine on llama-server", async (answer) => {
    const { engine, close } = await startEngine(
      answer === "finite" ? { shape: "tiny", brain: "script" } : { shape: "small", brain: "endless" },
      { settings: { sequenceCount: 2, backend: "llama-server" }, program: serverProgram(path!) },
    );
    const [model] = await engine.models();
    return { engine, model: "tiny", text: SCRIPT_LINES[0], contextLength: model!.contextLength!, close };
  });
});
