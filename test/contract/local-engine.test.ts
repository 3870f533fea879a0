import { SCRIPT_LINES } from "../support/gguf/vocabulary.ts";
import { startEngine } from "../support/local-engine.ts";
import { describeChatEngine } from "./chat-engine.ts";

describeChatEngine("the local engine", async (answer) => {
  const { engine, close } = await startEngine(
    // The endless one is larger: a tiny one would fill its context before anybody could abort it.
    answer === "finite" ? { shape: "tiny", brain: "script" } : { shape: "small", brain: "endless" },
    { settings: { sequenceCount: 2 } },
  );
  const [model] = await engine.models();
  return { engine, model: "tiny", text: SCRIPT_LINES[0], contextLength: model!.contextLength!, close };
});
