/** The chat bots on Cloudflare Workers: signatures are checked here, everything else is the room's. */
import { createDiscordEndpoint } from "../bots/discord/endpoint.ts";
import { createSlackRequestReader } from "../bots/slack/signed-request.ts";
import type { EdgeBotsEnvironment } from "./edge-environment.ts";
import { systemTimer } from "./timer.ts";
import { workerLogger as logger } from "./worker-logger.ts";

export { ChatRoom } from "./edge-chat-room.ts";

type Endpoint = (request: Request) => Promise<Response>;

/** By path; what a setting is missing for is not there. */
function createEndpoints(environment: EdgeBotsEnvironment): ReadonlyMap<string, Endpoint> {
  const endpoints = new Map<string, Endpoint>();
  const { CHAT_ROOM: rooms, DISCORD_PUBLIC_KEY: publicKey, SLACK_SIGNING_SECRET: signingSecret } = environment;
  const hand = (room: "discord" | "slack", body: unknown) =>
    rooms.get(rooms.idFromName(room)).fetch(`http://room/${room}`, { method: "POST", body: JSON.stringify(body) });
  if (publicKey) {
    const take = async (interaction: unknown, receivedAt: number) => {
      const reply = await hand("discord", { interaction, receivedAt });
      if (reply.status === 409) return undefined;
      if (!reply.ok) throw new Error(`The room answered ${reply.status}.`);
      return (await reply.json()) as Record<string, unknown>;
    };
    endpoints.set("/discord/interactions", createDiscordEndpoint({ publicKey, clock: systemTimer, logger, take }));
  }
  if (signingSecret) {
    const read = createSlackRequestReader({ signingSecret, timer: systemTimer, logger });
    endpoints.set("/slack/events", async (request) => {
      const asked = await read(request);
      if ("answer" in asked) return asked.answer;
      // Most of what is said in a channel is nobody's business but the people's: it does not wake the room.
      return isChatter(asked.body) ? new Response("") : await hand("slack", asked.body);
    });
  }
  return endpoints;
}

/** Messages of bots, and the notes Slack writes into channels itself. */
function isChatter({ event }: Record<string, unknown>): boolean {
  if (typeof event !== "object" || event === null) return false;
  const { type, subtype, bot_id } = event as { type?: unknown; subtype?: unknown; bot_id?: unknown };
  if (type !== "message") return false;
  return bot_id !== undefined || (subtype !== undefined && !spokenSubtypes.has(String(subtype)));
}

const spokenSubtypes = new Set(["file_share", "thread_broadcast", "message_deleted"]);

const endpoints = new WeakMap<EdgeBotsEnvironment, ReturnType<typeof createEndpoints>>();

export default {
  async fetch(request: Request, environment: EdgeBotsEnvironment): Promise<Response> {
    let known = endpoints.get(environment);
    if (known === undefined) {
      known = createEndpoints(environment);
      endpoints.set(environment, known);
    }
    const endpoint = known.get(new URL(request.url).pathname);
    return endpoint === undefined ? new Response("There is nothing here.", { status: 404 }) : await endpoint(request);
  },
};
