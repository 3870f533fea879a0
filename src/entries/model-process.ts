/** Life of a process that holds a model: forked by the engine's supervisor, it lives exactly as long as its channel. */
import { writeFileSync } from "node:fs";
import { LlamaChild } from "../engine/child.ts";
import type { ChildMessage, ParentMessage } from "../engine/ipc.ts";
import type { CountedPrompt, RuntimeKind } from "../engine/model-runtime.ts";

export function serveModel<Prompt extends CountedPrompt>(kind: RuntimeKind<Prompt>): void {
  if (process.send === undefined) {
    console.error("This is the engine's model process; it is started by `snug start` or `snug engine`.");
    process.exit(2);
  }
  // The library tries its binary in a process forked from this one, which needs none of our loaders.
  process.execArgv = [];
  volunteerForOutOfMemory();
  const helpers = new Set<number>();
  // The parent is gone, in whatever way: nobody can use this model any more.
  process.on("disconnect", () => vanish(helpers));
  if (!process.connected) vanish(helpers);
  // Ctrl-C reaches the whole terminal group; the parent decides when running answers are over.
  process.on("SIGINT", () => {});
  process.on("SIGTERM", () => {});

  const child = new LlamaChild(kind, (message: ChildMessage) => {
    if (message.type === "helper") helpers.add(message.pid);
    // A parent that died a moment ago: "disconnect" follows.
    if (process.connected) process.send?.(message, undefined, {}, () => {});
  });
  process.on("message", async (message: ParentMessage) => {
    await child.receive(message);
    if (message.type !== "stop") return;
    endAll(helpers);
    process.exit(0);
  });
}

/** Native threads may be at work: an orderly exit would wait for them or trip over them, this end cannot fail. */
function vanish(helpers: ReadonlySet<number>): void {
  endAll(helpers);
  process.kill(process.pid, "SIGKILL");
}

function endAll(pids: ReadonlySet<number>): void {
  for (const pid of pids) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // Ended by itself.
    }
  }
}

/** If memory runs out, Linux should end this process, which can be started again, and not the server beside it. */
function volunteerForOutOfMemory(): void {
  try {
    writeFileSync("/proc/self/oom_score_adj", "800");
  } catch {
    // Not Linux, or not allowed: the system's own choice stands.
  }
}
