/** Why an answer is not given or not given to its end. */
import { AppError } from "../core/errors.ts";

export function stopping(): AppError {
  return new AppError("engine_unavailable", "The server is shutting down; please try again in a moment.");
}

export function cut(): AppError {
  return new AppError("engine_unavailable", "The server was stopped before the answer was complete; please ask again.");
}

export function waitedTooLong(waitMs: number): AppError {
  const message = `No slot became free within ${Math.round(waitMs / 1000)} s; try again when it is quieter.`;
  return new AppError("engine_overloaded", message, { retryAfterMs: 10_000 });
}

export function unread(): AppError {
  return new AppError("engine_timeout", "The answer was not read for too long and was cut; please ask again.");
}

export function silent(waitMs: number): AppError {
  const message = `The model gave no sign of life for ${waitMs / 1000} s and was restarted; please try again.`;
  return new AppError("engine_timeout", message);
}
