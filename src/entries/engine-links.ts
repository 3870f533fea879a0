/** The links of `snug engine --connect`: one to each API it dials. */
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { AppError } from "../core/errors.ts";
import type { HardwareReading, Logger } from "../core/ports.ts";
import type { ModelRegistry } from "../engine/registry.ts";
import { dialLink, type LinkDial, linkUrl } from "../http/link-dial.ts";
import { describeMachine, describePlans } from "./link-facts.ts";
import { dialWebSocket } from "./link-socket.ts";
import { packageVersion } from "./package-files.ts";
import type { Settings } from "./settings.ts";
import { systemTimer } from "./timer.ts";

export interface EngineLinks {
  /** Addresses dialled. */
  apis: string[];
  name: string;
  /** Resolves when an API has taken the engine in. */
  linked: Promise<void>;
  stop(options: { drainMs: number }): Promise<void>;
}

/** @throws AppError invalid_configuration: an address that is none, or no token */
export function openLinks(
  engine: ModelRegistry,
  { hardware, settings, logger }: { hardware: HardwareReading; settings: Settings; logger: Logger },
): EngineLinks {
  const name = settings.engineName ?? ownName();
  const apis = settings.connect.map((url) => new URL(linkUrl(url, name)).host);
  const tokens = tokensOf(settings);
  const instance = randomUUID();
  const machine = describeMachine(hardware);
  const dials = settings.connect.map(
    (url, place): LinkDial =>
      dialLink({
        url,
        token: tokens[place]!,
        engine,
        name,
        instance,
        software: packageVersion,
        facts: () => ({ hardware: machine, plans: describePlans(engine.status()) }),
        dial: dialWebSocket,
        timer: systemTimer,
        logger,
        random: Math.random,
      }),
  );
  return {
    apis,
    name,
    linked: dials.length === 0 ? new Promise(() => {}) : Promise.race(dials.map((dial) => dial.linked)),
    stop: async (options) => void (await Promise.all(dials.map((dial) => dial.stop(options)))),
  };
}

/** One token for all, or one for each in the same order. */
function tokensOf({ connect, linkTokens }: Settings): string[] {
  if (connect.length === 0) return [];
  if (linkTokens.length !== 1 && linkTokens.length !== connect.length) {
    throw new AppError(
      "invalid_configuration",
      "Connecting to an API needs a key with the scope engine in SNUG_LINK_TOKEN (there: snug keys create --name home --scopes engine); for several APIs one key each, in the same order, separated by commas.",
    );
  }
  return connect.map((_, place) => linkTokens[place] ?? linkTokens[0]!);
}

/** The machine's name as far as it may stand in an engine's. */
function ownName(): string {
  return (
    hostname()
      .replace(/\..*$/, "")
      .replace(/[^\w-]/g, "-")
      .slice(0, 64) || "engine"
  );
}
