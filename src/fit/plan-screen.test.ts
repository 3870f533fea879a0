import { describe, expect, test } from "vitest";
import { AppError } from "../core/errors.ts";
import { GIB } from "../core/units.ts";
import { CATALOGUE_MODELS, specFromCatalogue } from "./catalogue.ts";
import { offloadableLayers, planFit, prepareScreening, screenFit } from "./plan.ts";
import type { FitPlan, Hardware } from "./types.ts";

const card = (gib: number): Hardware => ({
  backend: "cuda",
  gpus: [{ id: "gpu0", vramBytesTotal: gib * GIB }],
  ramBytesFree: 512 * GIB,
});

describe("screenFit", () => {
  test("is near the plan for any model and mix", () => {
    const machine = prepareScreening(card(24), { contextLength: 8192 });
    const rows = CATALOGUE_MODELS.filter(({ uses }, index) => index % 6 === 0 && !uses.includes("embedding"));
    for (const row of rows) {
      const model = specFromCatalogue(row);
      // Screening counts prediction blocks that a load may leave out.
      if (model.mtpLayerCount > 0) continue;
      for (const { quantization, gpuBytes, fits } of screenFit(model, machine, ["Q4_K_M", "Q8_0"])) {
        const wish = { quantization, contextLength: 8192, gpuLayers: offloadableLayers(model) };
        const plan = planFit(model, card(24), wish) as FitPlan;
        const exact = plan.devices[0]!.totalBytes - (model.projectorBytes ?? 0);
        const allowed = 0.25 * plan.devices[0]!.computeBufferBytes + 0.001 * exact;
        expect(Math.abs(gpuBytes - exact), `${row.name} ${quantization}`).toBeLessThan(allowed);
        if (Math.abs(gpuBytes - machine.usableBytes) > allowed) {
          expect(exact <= machine.usableBytes, `${row.name} ${quantization}`).toBe(fits);
        }
      }
    }
  });

  test("refuses nonsense as planning does", () => {
    expect(() => prepareScreening(card(0))).toThrow(AppError);
    const model = specFromCatalogue(CATALOGUE_MODELS[0]!);
    expect(() => screenFit(model, prepareScreening(card(8)), ["Q9_Z"])).toThrow(AppError);
    expect(() => screenFit(model, prepareScreening(card(8), { contextLength: -1 }), ["Q4_K_M"])).toThrow(AppError);
  });
});
