/** Why there is no model, in words a client may read: helpful to the operator at home, without the machine's folders. */
import { AppError } from "../core/errors.ts";

/** An absolute path, quoted or not, up to what may follow one in a sentence. */
const absolutePath = /(?<![\w:/.])(?:[A-Za-z]:[\\/]|\\\\|\/)(?:[^\s"'`<>|?*,;()]+[\\/])*[^\s"'`<>|?*,;():]+/g;

/**
 * @param paths known to be in messages, as a path with spaces cannot be told from the sentence around it
 */
export function withoutPaths(message: string, paths: readonly string[] = []): string {
  let text = message;
  for (const path of paths) if (/[\\/]/.test(path)) text = text.replaceAll(path, path.split(/[\\/]/).at(-1) ?? "");
  return text.replace(absolutePath, (path) => path.split(/[\\/]/).at(-1) ?? "");
}

/** What chats are told while the model cannot be had. The code is one clients may retry; what it was stands in `details`. */
export function unavailableBecause(reason: AppError | undefined, paths: readonly string[] = []): AppError {
  const why = reason === undefined ? "the operator finds the reason in the log." : withoutPaths(reason.message, paths);
  return new AppError("engine_unavailable", `No model is loaded: ${why}`, {
    cause: reason,
    ...(reason === undefined ? {} : { details: { reason: reason.code } }),
  });
}
