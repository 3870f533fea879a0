/** Engines and aliases as they stand in settings: one line of text. */
import { AppError } from "../core/errors.ts";
import { aliasTargetsMax, modelNameCharsMax } from "../core/limits.ts";

/** No password in an address: it would be shown with it. Nothing after the path: that is where ours goes on. */
export function isEngineUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password, search, hash } = new URL(text);
  return /^https?:$/.test(protocol) && [username, password, search, hash].every((part) => part === "");
}

export interface EngineAddress {
  name: string;
  url: string;
  /** False for one address without a name: its own name for itself is used. */
  named: boolean;
  /** Share of the work among equals; 1 unless told. */
  weight: number;
}

/**
 * "http://10.0.0.5:8788" or "attic=http://10.0.0.5:8788,cellar*2=http://10.0.0.6:8788": a name may have a weight. "link" names none: engines dial in.
 *
 * @throws AppError invalid_configuration
 */
export function parseEngineList(text: string): EngineAddress[] {
  const addresses = text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "" && part !== "link")
    .map((part, place, parts): EngineAddress => {
      const named = /^([\w.-]{1,64})(?:\*(\d{1,3}(?:\.\d{1,2})?))?=(.+)$/.exec(part);
      const url = named?.[3] ?? part;
      const weight = Number(named?.[2] ?? 1);
      if (weight < 0.01 || weight > 100) {
        const message = `SNUG_ENGINE_URL: the weight of ${named?.[1]} must be from 0.01 to 100; 1 is usual.`;
        throw new AppError("invalid_configuration", message);
      }
      if (!isEngineUrl(url)) {
        throw new AppError(
          "invalid_configuration",
          `SNUG_ENGINE_URL: ${url} is no http:// or https:// address; write http://host:port, or name=http://host:port,name*2=…`,
        );
      }
      if (named?.[1] !== undefined) return { name: named[1], url, named: true, weight };
      return parts.length === 1
        ? { name: "remote", url, named: false, weight }
        : { name: `engine-${place + 1}`, url, named: true, weight };
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
