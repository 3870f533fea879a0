/** The real API with a real engine behind it at a port, for clients that were written for other servers. */
import { createRouter } from "../../src/api/router.ts";
import type { UsageRow } from "../../src/core/ports.ts";
import { listen } from "../../src/entries/listen.ts";
import { respondWithSource } from "../../src/entries/node-streams.ts";
import { systemTimer } from "../../src/entries/timer.ts";
import { openApi } from "./api.ts";
import { RECIPES } from "./gguf/architectures.ts";
import { createToolTemplate } from "./gguf/tool-template.ts";
import { startEngine } from "./local-engine.ts";

/** What the model says after its thoughts, when it does not call. */
export const spoken = "The queue holds requests";
export const thought = "Memory use was measured";

/** Calls if it may, else thinks and speaks. */
const script = ["<tool_call>", `<think> ${thought} </think> ${spoken}`];

/** A bias under this token's number keeps the model from calling. */
export const callToken = RECIPES.qwen3.vocabulary(0).tokens.indexOf("<tool_call>");

export interface ClientApi {
  /** "http://127.0.0.1:…/v1" */
  baseUrl: string;
  apiKey: string;
  /** Ledger rows, newest first. */
  rows(): Promise<UsageRow[]>;
  close(): Promise<void>;
}

export async function startClientApi(): Promise<ClientApi> {
  const local = await startEngine({ shape: "tiny", brain: "script", script, metadata: [createToolTemplate()] });
  const member = { name: "local", engine: local.engine, origin: "settings", named: false } as const;
  const api = await openApi({
    replace: {
      engine: createRouter({ engines: [{ ...member, weight: 1, draining: false }], timer: systemTimer }),
      respond: respondWithSource,
    },
  });
  const { secret } = await api.makeKey(["chat"]);
  const listener = await listen(api.app.fetch, { host: "127.0.0.1", port: 0 });
  return {
    baseUrl: `${listener.address}/v1`,
    apiKey: secret,
    rows: () => api.rows(),
    async close() {
      await local.close();
      await listener.close(1000);
      api.close();
    },
  };
}
