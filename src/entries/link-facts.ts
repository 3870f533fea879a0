/** What an engine tells the API it dials of its machine and of the plans its models run by. */
import type { HardwareReading, LinkFacts } from "../core/ports.ts";
import type { ModelStatus } from "../engine/registry-entry.ts";

export function describeMachine({ cpu, ramBytesTotal, gpus }: HardwareReading): LinkFacts["hardware"] {
  return {
    cpu: cpu.name,
    ramBytesTotal,
    gpus: gpus.map(({ name, vramBytesTotal }) => ({ name, vramBytesTotal })),
  };
}

/** Models that are loaded. */
export function describePlans(models: readonly ModelStatus[]): LinkFacts["plans"] {
  return models.flatMap(({ id, engine, load }) => {
    if (engine === undefined || load === undefined) return [];
    const { gpuLayers } = engine.settings;
    const vramBytes = load.plan.devices.reduce((sum, one) => sum + (one.kind === "gpu" ? one.totalBytes : 0), 0);
    return [
      {
        model: id,
        offload: load.plan.offload,
        ...(gpuLayers === "auto" ? {} : { gpuLayers }),
        vramBytes,
        ...(engine.model?.quantization === undefined ? {} : { quantization: engine.model.quantization }),
        ...(engine.model === undefined ? {} : { contextLength: engine.model.contextLength }),
      },
    ];
  });
}
