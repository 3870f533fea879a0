/** A local engine's model as clients are told of it. */
import type { Producer } from "../core/chat.ts";
import type { ModelListing } from "../core/ports.ts";
import type { LoadedModel } from "./ipc.ts";
import type { LocalEngineOptions } from "./local-engine.ts";

/** @param model as it was last loaded; undefined before the first load */
export function listingOf(
  { id, demo }: LocalEngineOptions["model"],
  model: LoadedModel | undefined,
  loaded: boolean,
): ModelListing {
  return {
    id,
    ...(model?.quantization === undefined ? {} : { quantization: model.quantization }),
    ...(model === undefined
      ? {}
      : {
          parameterCount: model.parameterCount,
          contextLength: model.contextLength,
          contextLengthTrained: model.contextLengthTrained,
          fileBytes: model.fileBytes,
        }),
    ...(model?.task === undefined ? {} : { task: model.task }),
    loaded,
    ...(demo === true ? { demo } : {}),
  };
}

export function producerOf(
  { engineId, model: named }: Pick<LocalEngineOptions, "engineId" | "model">,
  model: LoadedModel | undefined,
): Producer {
  return {
    model: named.id,
    ...(engineId === undefined ? {} : { engineId }),
    ...(model?.quantization === undefined ? {} : { quantization: model.quantization }),
    ...(model === undefined ? {} : { contextLength: model.contextLength }),
  };
}
