/** Engines and aliases as they stand in settings: one line of text. */
import { AppError } from "../core/errors.ts";
import { aliasTargetsMax, modelNameCharsMax } from "../core/limits.ts";

/** No password in an address: it would be shown with it. */
export function isEngineUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password } = new URL(text);
  return /^https?:$/.test(protocol) && username === "" && password === "";
}

export interface EngineAddress {
  name: string;
  url: string;
  /** False for one address without a name: its own name for itself is used. */
  named: boolean;
}

/**
 * "http://10.0.0.5:8788" or "attic=http://10.0.0.5:8788,cellar=http://10.0.0.6:8788". "link" names none: engines dial in.
 *
 * @throws AppError invalid_configuration
 */
export function parseEngineList(text: string): EngineAddress[] {
  const addresses = text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "" && part !== "link")
    .map((part, place, parts): EngineAddress => {
      const named = /^([\w.-]{1,64})=(.+)$/.exec(part);
      const url = named?.[2] ?? part;
      if (!isEngineUrl(url)) {
        throw new AppError(
          "invalid_configuration",
          `SNUG_ENGINE_URL: ${url} is no http:// or https:// address; write http://host:port, or name=http://host:port,name=…`,
        );
      }
      if (named?.[1] !== undefined) return { name: named[1], url, named: true };
      return parts.length === 1
        ? { name: "remote", url, named: false }
        : { name: `engine-${place + 1}`, url, named: true };
    });
  if (new Set(addresses.map((address) => address.name)).size < addresses.length) {
    throw new AppError("invalid_configuration", "SNUG_ENGINE_URL: every engine needs a name of its own.");
  }
  return addresses;
}

/**
 * "chat-small=qwen3-8b|llama-3.2-3b,chat-large=llama-3.3-70b": each name and what is asked for it, in order.
 *
 * @throws AppError invalid_configuration
 */
export function parseAliases(text: string): Map<string, string[]> {
  const aliases = new Map<string, string[]>();
  for (const part of text.split(",").map((one) => one.trim())) {
    if (part === "") continue;
    const [alias = "", list = "", ...rest] = part.split("=").map((one) => one.trim());
    const targets = list.split("|").map((one) => one.trim());
    const sound =
      rest.length === 0 && [alias, ...targets].every((one) => one !== "" && one.length <= modelNameCharsMax);
    if (!sound || targets.length > aliasTargetsMax) {
      throw new AppError(
        "invalid_configuration",
        `SNUG_ALIASES: ${part.slice(0, 100)} is not understood; write name=model or name=model|other-model, separated by commas.`,
      );
    }
    aliases.set(alias, targets);
  }
  return aliases;
}
