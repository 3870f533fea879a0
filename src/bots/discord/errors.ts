/** Discord's errors in the bots' words; nobody else looks at discord.js error classes. */
import { DiscordAPIError, DiscordjsError, DiscordjsErrorCodes, HTTPError } from "discord.js";
import { AppError } from "../../core/errors.ts";
import { ChatPlatformError } from "../platform-error.ts";
import { reasonOf } from "./error-reasons.ts";

export function toPlatformError(thrown: unknown): ChatPlatformError {
  if (thrown instanceof ChatPlatformError) return thrown;
  if (thrown instanceof DiscordAPIError) {
    const code = Number(thrown.code);
    const options = { cause: thrown, platformCode: code };
    return new ChatPlatformError(reasonOf(thrown.status, code), thrown.message, options);
  }
  if (thrown instanceof HTTPError) {
    const options = { cause: thrown, platformCode: thrown.status };
    return new ChatPlatformError(reasonOf(thrown.status), `Discord answered ${thrown.status}`, options);
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
