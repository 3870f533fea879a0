/** A plan as arguments of llama-server: for the shell in a recipe, and for the process our engine starts. */
import type { ModelSpec, RuntimeSettings } from "./types.ts";

export type ServerSettings = Pick<
  RuntimeSettings,
  | "contextLength"
  | "sequenceCount"
  | "batchSize"
  | "microBatchSize"
  | "kvCacheTypeK"
  | "kvCacheTypeV"
  | "hostExpertLayers"
  | "gpuLayerSplit"
> & {
  /** "auto" leaves it to the server. */
  gpuLayers: number | "auto";
  flashAttention: boolean | "auto";
};

/**
 * Every planned setting has an option. Checked: tools/server/README.md.
 *
 * @returns options with their values, in groups that belong on one line
 */
export function llamaServerArguments(settings: ServerSettings, layers: ModelSpec["layers"]): string[][] {
  const { contextLength, sequenceCount, kvCacheTypeK, kvCacheTypeV, gpuLayerSplit, flashAttention } = settings;
  const groups = [
    // -c is the sum over slots; with -np given each slot gets its part.
    ["-c", `${contextLength * sequenceCount}`, "-np", `${sequenceCount}`],
    ["-ngl", `${settings.gpuLayers}`],
    ["-b", `${settings.batchSize}`, "-ub", `${settings.microBatchSize}`],
    ["-fa", flashAttention === "auto" ? "auto" : flashAttention ? "on" : "off"],
  ];
  if (kvCacheTypeK !== "F16" || kvCacheTypeV !== "F16") {
    groups.push(["-ctk", kvCacheTypeK.toLowerCase(), "-ctv", kvCacheTypeV.toLowerCase()]);
  }
  if (gpuLayerSplit.length > 1 && settings.gpuLayers !== 0) groups.push(["-ts", gpuLayerSplit.join(",")]);
  const experts = hostExpertPattern(settings.hostExpertLayers, layers);
  if (experts !== undefined) groups.push(["-ot", `${experts}=CPU`]);
  return groups;
}

/** The blocks whose experts stay in main memory, as a tensor name pattern; llama.cpp's --n-cpu-moe counts from the front. */
function hostExpertPattern(hostExpertLayers: number, layers: ModelSpec["layers"]): string | undefined {
  let left = hostExpertLayers;
  if (left === 0) return undefined;
  const blocks: number[] = [];
  for (let block = layers.length - 1; block >= 0 && left > 0; block--) {
    if (layers[block]!.ffn !== "moe") continue;
    blocks.unshift(block);
    left--;
  }
  const experts = layers.filter(({ ffn }) => ffn === "moe").length;
  const which = blocks.length === experts ? "" : `blk\\.(${blocks.join("|")})`;
  return `${which}\\.ffn_(up|down|gate|gate_up)_(ch|)exps`;
}
