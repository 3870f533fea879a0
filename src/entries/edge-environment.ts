/** Bindings and secrets of wrangler.bots.toml. */
import type { D1Binding } from "./d1.ts";
import type { ObjectNamespace } from "./workers-runtime.ts";

export interface EdgeBotsEnvironment {
  /** The API's database: channel settings, votes, what was acted on. */
  DB: D1Binding;
  /** The API's Worker. */
  API: { fetch(request: Request): Promise<Response> };
  /** One object for each platform. */
  CHAT_ROOM: ObjectNamespace;
  /** The key the bots ask the API with. */
  SNUG_API_KEY?: string;
  /** Of the Discord application: 64 hexadecimal digits. */
  DISCORD_PUBLIC_KEY?: string;
  SLACK_SIGNING_SECRET?: string;
  // The bots' other settings are read by their own parsers.
}
