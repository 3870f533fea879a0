/** Slack's errors in the bots' words. */
import { AppError } from "../../core/errors.ts";
import { ChatPlatformError, type ChatPlatformErrorReason } from "../platform-error.ts";

const reasonOfCode: Record<string, ChatPlatformErrorReason> = {
  message_not_found: "gone",
  thread_not_found: "gone",
  cant_delete_message: "gone",
  // Also what Slack says of private channels the bot is not in; a direct message may still work.
  channel_not_found: "forbidden",
  not_in_channel: "forbidden",
  is_archived: "forbidden",
  cant_update_message: "forbidden",
  edit_window_closed: "forbidden",
  missing_scope: "forbidden",
  no_permission: "forbidden",
  restricted_action: "forbidden",
  restricted_action_read_only_channel: "forbidden",
  restricted_action_thread_only_channel: "forbidden",
  restricted_action_non_threadable_channel: "forbidden",
  messages_tab_disabled: "forbidden",
  user_disabled: "forbidden",
  cannot_dm_bot: "forbidden",
  ratelimited: "unavailable",
  rate_limited: "unavailable",
  internal_error: "unavailable",
  fatal_error: "unavailable",
  service_unavailable: "unavailable",
  request_timeout: "unavailable",
  team_added_to_org: "unavailable",
};

/** Slack's refusal of a call by its own error name. */
export function refusedCall(code: string, cause?: unknown): ChatPlatformError {
  return new ChatPlatformError(reasonOfCode[code] ?? "invalid", `Slack answered ${code}`, {
    cause,
    platformCode: code,
  });
}

/** Slack's refusal of a call that came too soon. */
export function hastyCall(retryAfterMs: number, cause?: unknown): ChatPlatformError {
  return new ChatPlatformError("unavailable", "Slack asked to slow down", {
    cause,
    platformCode: "ratelimited",
    retryAfterMs,
  });
}

/** An answer that is none of the Web API's. */
export function brokenCall(status: number, cause?: unknown): ChatPlatformError {
  return new ChatPlatformError(status >= 500 ? "unavailable" : "invalid", `Slack answered status ${status}`, {
    cause,
    platformCode: status,
  });
}

/** Any failure of a Web API call. `platformCode` is Slack's error name, or the HTTP status. */
export function toPlatformError(thrown: unknown): ChatPlatformError {
  if (thrown instanceof ChatPlatformError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new ChatPlatformError("invalid", `A Slack call failed in an unexpected way: ${message}`, { cause: thrown });
}

/** The method is not there for this app or workspace, and will not be later. */
export function isUnsupported({ platformCode }: ChatPlatformError): boolean {
  return unsupportedCodes.has(String(platformCode));
}

const unsupportedCodes = new Set([
  "unknown_method",
  "missing_scope",
  "method_deprecated",
  "not_allowed_token_type",
  "feature_not_enabled",
  "access_denied",
  "no_permission",
  "not_an_agent",
  "agent_not_enabled",
]);

/** The stream is over on Slack's side, whoever ended it. */
export function isStreamOver({ platformCode }: ChatPlatformError): boolean {
  return streamOverCodes.has(String(platformCode));
}

const streamOverCodes = new Set(["message_not_in_streaming_state", "stopped_by_user", "streaming_state_conflict"]);

const tokenErrors = new Set([
  "invalid_auth",
  "not_authed",
  "account_inactive",
  "token_revoked",
  "token_expired",
  "not_allowed_token_type",
  "user_removed_from_team",
  "team_disabled",
]);

/** Why the bot could not come online, as something an administrator can act on. */
export function toLoginError(thrown: unknown, token: "SLACK_BOT_TOKEN" | "SLACK_APP_TOKEN"): AppError {
  if (thrown instanceof AppError) return thrown;
  const { platformCode, message } = toPlatformError(thrown);
  if (tokenErrors.has(String(platformCode))) {
    const advice =
      token === "SLACK_BOT_TOKEN"
        ? "Copy the Bot User OAuth Token (xoxb-…) from OAuth & Permissions of the app's settings"
        : "Make an app-level token (xapp-…) with the scope connections:write under Basic Information of the app's settings";
    return new AppError(
      "invalid_configuration",
      `Slack does not accept this token (${platformCode}). ${advice} into ${token}.`,
      {
        cause: thrown,
      },
    );
  }
  if (platformCode === "missing_scope") {
    return new AppError("invalid_configuration", `Slack says that ${token} lacks a scope. Install the app again.`, {
      cause: thrown,
    });
  }
  return new AppError("engine_unavailable", `Slack could not be reached: ${message}.`, { cause: thrown });
}
