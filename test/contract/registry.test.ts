import { SCRIPT_LINES } from "../support/gguf/vocabulary.ts";
import { prepareRegistry } from "../support/registry.ts";
import { describeChatEngine } from "./chat-engine.ts";

describeChatEngine("the registry of models", async (answer) => {
  const { registry, close } = await prepareRegistry({
    tiny: answer === "finite" ? { shape: "tiny", brain: "script" } : { shape: "small", brain: "endless" },
  });
  await registry.start();
  const [model] = await registry.models();
  return { engine: registry, model: "tiny", text: SCRIPT_LINES[0], contextLength: model!.contextLength!, close };
});
