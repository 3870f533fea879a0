/** What Discord's error codes and statuses mean for an answer that is being written. */
import type { ChatPlatformErrorReason } from "../platform-error.ts";

/** A reply is refused where the bot may not read the history, an ordinary message is not. */
export const cannotReplyCode = 160002;

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
  160002: "forbidden", // cannot reply without reading the history
  160005: "forbidden", // locked thread
  200000: "blocked", // automod
  200001: "blocked",
  240000: "blocked", // harmful link
};

/** @param code Discord's own, in the body; undefined where there is none */
export function reasonOf(status: number, code?: number): ChatPlatformErrorReason {
  const known = code === undefined ? undefined : reasonOfCode[code];
  if (known !== undefined) return known;
  if (status === 429 || status >= 500) return "unavailable";
  if (status === 403) return "forbidden";
  if (status === 404) return "gone";
  return "invalid";
}
