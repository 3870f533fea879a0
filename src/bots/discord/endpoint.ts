/** The address Discord sends interactions to, as a plain function from request to response. */
import { signedBodyBytesMax } from "../../core/limits.ts";
import type { Clock, Logger } from "../../core/ports.ts";
import { interactionTypes, responseTypes } from "./api-values.ts";
import { createDiscordSignatureCheck } from "./signature.ts";

export interface DiscordEndpointOptions {
  /** Of the application, from the Developer Portal: 64 hexadecimal digits. */
  publicKey: string;
  clock: Clock;
  logger: Logger;
  /**
   * Takes a signed interaction on and gives the answer to Discord's request.
   *
   * @returns undefined for one that was taken before
   */
  take: (interaction: unknown, receivedAt: number) => Promise<Record<string, unknown> | undefined>;
}

/** Never rejects. */
export function createDiscordEndpoint(options: DiscordEndpointOptions): (request: Request) => Promise<Response> {
  const { clock, logger, take } = options;
  const isSigned = createDiscordSignatureCheck(options.publicKey, clock);
  return async (request) => {
    if (request.method !== "POST") return refuse(405, "Discord sends POST requests here.");
    const receivedAt = clock.now();
    if (Number(request.headers.get("content-length") ?? 0) > signedBodyBytesMax) return refuse(413, "Too large.");
    const body = new Uint8Array(await request.arrayBuffer());
    if (body.length > signedBodyBytesMax) return refuse(413, "Too large.");
    if (!(await isSigned(request.headers, body))) return refuse(401, "The signature is not Discord's.");
    const interaction = parse(body);
    if (interaction === undefined) return refuse(400, "The body could not be read.");
    if (interaction.type === interactionTypes.ping) return Response.json({ type: responseTypes.pong });
    try {
      const response = await take(interaction, receivedAt);
      return response === undefined ? refuse(409, "This interaction was taken before.") : Response.json(response);
    } catch (thrown) {
      logger.error("a Discord interaction could not be taken", { error: String(thrown) });
      return refuse(500, "Not handled.");
    }
  };
}

function parse(body: Uint8Array): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(body));
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

function refuse(status: number, text: string): Response {
  return new Response(text, { status });
}
