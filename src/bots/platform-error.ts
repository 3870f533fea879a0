/** Why a chat platform did not take a write. Adapters translate their library's errors into this one. */

export type ChatPlatformErrorReason =
  /** The message or channel was deleted. */
  | "gone"
  /** The reply token is over; another place may work. */
  | "expired"
  /** Missing permission, an archived thread, closed direct messages; another place may work. */
  | "forbidden"
  /** The platform's own filter refused the text. */
  | "blocked"
  /** Network or the platform itself; the same write may work later. */
  | "unavailable"
  /** The platform says the write was malformed: our bug. */
  | "invalid";

export class ChatPlatformError extends Error {
  override readonly name = "ChatPlatformError";
  readonly reason: ChatPlatformErrorReason;
  /** The platform's own code, for the log. */
  readonly platformCode: number | string | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(
    reason: ChatPlatformErrorReason,
    message: string,
    options: { cause?: unknown; platformCode?: number | string; retryAfterMs?: number } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.reason = reason;
    this.platformCode = options.platformCode;
    this.retryAfterMs = options.retryAfterMs;
  }
}
