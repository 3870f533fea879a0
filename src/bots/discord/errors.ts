/** Discord's errors in the bots' words; nobody else looks at discord.js error classes. */
import { DiscordAPIError, DiscordjsError, DiscordjsErrorCodes, HTTPError } from "discord.js";
import { AppError } from "../../core/errors.ts";
import { ChatPlatformError, type ChatPlatformErrorReason } from "../platform-error.ts";

const reasonOfCode: Record<number, ChatPlatformErrorReason> = {
  10003: "gone", // unknown channel
  10008: "gone", // unknown message
  10004: "gone", // unknown guild
  10015: "expired", // unknown webhook
  10062: "expired", // unknown interaction
  50027: "expired", // invalid webhook token
  40060: "expired", // somebody else acknowledged: the token is theirs
  20016: "unavailable", // slow mode
  20028: "unavailable", // write rate limit
  20029: "unavailable",
  30046: "forbidden", // too many edits of an old message
  50001: "forbidden", // missing access
  50007: "forbidden", // cannot send to this user
  50013: "forbidden", // missing permissions
  50083: "forbidden", // archived thread
  160005: "forbidden", // locked thread
  200000: "blocked", // automod
  200001: "blocked",
  240000: "blocked", // harmful link
};

export function toPlatformError(thrown: unknown): ChatPlatformError {
  if (thrown instanceof ChatPlatformError) return thrown;
  if (thrown instanceof DiscordAPIError) {
    const code = Number(thrown.code);
    const options = { cause: thrown, platformCode: code };
    return new ChatPlatformError(reasonOfCode[code] ?? reasonOfStatus(thrown.status), thrown.message, options);
  }
  if (thrown instanceof HTTPError) {
    const options = { cause: thrown, platformCode: thrown.status };
    return new ChatPlatformError(reasonOfStatus(thrown.status), `Discord answered ${thrown.status}`, options);
  }
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return isNetworkFault(thrown)
    ? new ChatPlatformError("unavailable", `Discord could not be reached: ${message}`, { cause: thrown })
    : new ChatPlatformError("invalid", `A Discord call failed in an unexpected way: ${message}`, { cause: thrown });
}

/** Refused, reset and timed out connections, and answers that broke off. */
function isNetworkFault(thrown: unknown): boolean {
  if (!(thrown instanceof Error)) return false;
  if (thrown.name === "AbortError" || thrown.name === "TimeoutError" || thrown instanceof SyntaxError) return true;
  return "code" in thrown && typeof thrown.code === "string" && /^(E[A-Z]+$|UND_ERR_)/.test(thrown.code);
}

function reasonOfStatus(status: number): ChatPlatformErrorReason {
  if (status === 429 || status >= 500) return "unavailable";
  if (status === 403) return "forbidden";
  if (status === 404) return "gone";
  return "invalid";
}

/** Why the bot could not come online, as something an administrator can act on. */
export function toLoginError(thrown: unknown): AppError {
  if (thrown instanceof AppError) return thrown;
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  const invalidToken =
    (thrown instanceof DiscordjsError && thrown.code === DiscordjsErrorCodes.TokenInvalid) ||
    (thrown instanceof DiscordAPIError && thrown.status === 401);
  if (invalidToken) {
    return new AppError(
      "invalid_configuration",
      "Discord does not know this token. Copy the bot's token from the Developer Portal (Bot, Reset Token) into DISCORD_TOKEN.",
      { cause: thrown },
    );
  }
  if (/disallowed intents/i.test(text)) {
    return new AppError(
      "invalid_configuration",
      "Discord refused the Message Content intent. Switch it on in the Developer Portal (Bot, Privileged Gateway Intents) or set DISCORD_FOLLOW_THREADS=off.",
      { cause: thrown },
    );
  }
  return new AppError("engine_unavailable", `Discord could not be reached: ${text}.`, { cause: thrown });
}
