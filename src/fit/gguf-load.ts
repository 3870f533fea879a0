/** A GGUF by reference, for the planner: its header, and what its name and its neighbours tell. */
import { AppError } from "../core/errors.ts";
import { parseHttpUrl } from "./gguf-http.ts";
import { type HubOptions, hubUrlDefault, openRemoteGguf } from "./gguf-hub.ts";
import type { HeaderFacts } from "./model.ts";
import { quantizationOfName } from "./quantization-names.ts";

export interface LoadedGguf {
  header: HeaderFacts;
  name?: string;
  /** The quantization in the file's name, which tells more than the header's number. */
  quantization?: string;
  /** Size of the smallest projector beside it. */
  projectorBytes?: number;
}

export interface RemoteLoadOptions extends HubOptions {
  /** Read from any server. Without it only from the hub: a service must not be sent into its own network. */
  anyHost?: boolean;
}

/** True for what `loadRemoteGguf` reads: an `hf:` reference or an address. */
export function isRemoteLocation(location: string): boolean {
  return /^(?:hf:|https?:\/\/)/i.test(location);
}

function isOnHub(location: string, hubUrl: string): boolean {
  if (/^hf:/i.test(location)) return true;
  // A path is no address, and whoever may not read files need not be told which exist.
  return isRemoteLocation(location) && parseHttpUrl(location).origin === new URL(hubUrl).origin;
}

/** Reads the header behind an `hf:` reference or a URL. Throws AppError, as `openHttpGguf`, and for hosts not allowed. */
export async function loadRemoteGguf(location: string, options: RemoteLoadOptions): Promise<LoadedGguf> {
  const hubUrl = options.hubUrl ?? hubUrlDefault;
  if (options.anyHost !== true && !isOnHub(location, hubUrl)) {
    throw new AppError(
      "permission_denied",
      `Only files of ${hubUrl} are read here. Give hf:owner/repo, or the model's config.`,
      { param: "model" },
    );
  }
  const { header, hub } = await openRemoteGguf(location, options);
  const quantization = hub?.quantization ?? quantizationOfName(location);
  return {
    header,
    ...(quantization === undefined ? {} : { quantization }),
    ...(hub?.projector === undefined ? {} : { projectorBytes: hub.projector.bytes }),
  };
}
