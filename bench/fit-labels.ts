/** Plans the loads that ran or ran out of memory elsewhere (bench/data/fit-labels.json). Every third is held out. */
import { GIB } from "../src/core/units.ts";
import { findCatalogueModel, specFromCatalogue } from "../src/fit/catalogue.ts";
import { planFit } from "../src/fit/plan.ts";
import type { FitPlan, Hardware } from "../src/fit/types.ts";
import labels from "./data/fit-labels.json" with { type: "json" };

export interface LabelOutcome {
  load: string;
  /** In the third that is kept for testing. */
  held: boolean;
  ran: boolean;
  fits: boolean;
  probability: number;
  /** Bytes on the fullest GPU over its size. */
  ofCapacity: number;
}

export function compareLabels(): LabelOutcome[] {
  return labels.rows.map((row, index) => {
    const [name, quantization, gpu, gib, count, contextLength, outcome] = row.map(String) as Columns;
    const model = specFromCatalogue(findCatalogueModel(name.replaceAll("-", " "))!.model);
    const plan = planFit(model, hardwareOf(gpu, Number(gib), Number(count)), {
      quantization,
      contextLength: Number(contextLength),
      gpuLayers: model.layers.length + 1,
      flashAttention: false,
      buildFamily: "llama.cpp-2024",
    }) as FitPlan;
    const fullest = Math.max(...plan.devices.filter(({ kind }) => kind === "gpu").map((device) => device.totalBytes));
    return {
      load: `${name} ${quantization} on ${count} x ${gpu} ${gib} GiB, context ${contextLength}`,
      held: index % 3 === 2,
      ran: outcome === "fits",
      fits: plan.fits,
      probability: plan.probability,
      ofCapacity: fullest / (Number(gib) * GIB),
    };
  });
}

type Columns = [string, string, string, string, string, string, string];

function hardwareOf(gpu: string, gib: number, count: number): Hardware {
  const gpus = Array.from({ length: count }, (_, id) => ({ id: `gpu${id}`, vramBytesTotal: gib * GIB }));
  const apple = /^M\d/.test(gpu);
  return apple ? { backend: "metal", unifiedMemory: true, gpus } : { backend: "cuda", ramBytesFree: 512 * GIB, gpus };
}
