import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { childProgram } from "../../test/support/local-engine.ts";
import type { ChildMessage, ParentMessage } from "./ipc.ts";
import { settingsDefault } from "./local-engine.ts";

const modelPath = fileURLToPath(new URL("../../models/demo/demo-chat-F16.gguf", import.meta.url));

/** What a child of its own says when it has loaded the demo model. */
async function load(templateMark?: string): Promise<Extract<ChildMessage, { type: "ready" }>> {
  const child = fork(childProgram.url, {
    execArgv: [...childProgram.execArgv],
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  try {
    const settings = {
      ...settingsDefault,
      modelPath,
      gpu: false,
      gpuLayers: 0,
      threadsMax: 1,
      contextLength: 512,
    } as const;
    child.send({ type: "load", settings, templateMark } satisfies ParentMessage);
    for (;;) {
      const [message] = (await once(child, "message")) as [ChildMessage];
      if (message.type === "ready") return message;
      if (message.type === "load_failed") throw new Error(message.error.message);
    }
  } finally {
    child.kill("SIGKILL");
  }
}

test("a child told what an earlier one chose for the model's template chooses the same, and what is not so is not believed", async () => {
  const first = await load();
  expect(first.templateMark).toContain(first.model.chatTemplate);
  const again = await load(first.templateMark);
  expect([again.templateMark, again.model.chatTemplate]).toEqual([first.templateMark, first.model.chatTemplate]);
  for (const wrong of ['["Llama 3.1","0"]', "nonsense"]) {
    const other = await load(wrong);
    expect([other.templateMark, other.model.chatTemplate]).toEqual([first.templateMark, first.model.chatTemplate]);
  }
}, 120_000);
