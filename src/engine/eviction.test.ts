import { describe, expect, test } from "vitest";
import { machine } from "../../test/support/registry.ts";
import { GIB } from "../core/units.ts";
import { specFromParameterCount } from "../fit/model.ts";
import { cheapestSet, withFreed } from "./eviction.ts";
import { planLoad } from "./load-plan.ts";

describe("what must go", () => {
  const needs = (bytes: number, sizes: Record<string, number>) =>
    cheapestSet(Object.keys(sizes), async (set) => {
      const freed = set.reduce((sum, name) => sum + sizes[name]!, 0);
      return freed >= bytes ? freed : undefined;
    });

  test("is nobody when there is room", async () => {
    expect(await needs(0, { old: 1, new: 1 })).toEqual({ set: [], result: 0 });
  });

  test("is as few as will do, and of equals the first in line", async () => {
    expect(await needs(3, { small: 1, old: 3, new: 3 })).toMatchObject({ set: ["old"] });
    expect(await needs(4, { small: 1, old: 3, new: 3 })).toMatchObject({ set: ["small", "old"] });
    expect(await needs(7, { small: 1, old: 3, new: 3 })).toMatchObject({ set: ["small", "old", "new"] });
    expect(await needs(8, { small: 1, old: 3, new: 3 })).toBeUndefined();
  });

  test("of many is found by going down the line", async () => {
    const sizes = Object.fromEntries(Array.from({ length: 9 }, (_, index) => [`m${index}`, 1]));
    expect((await needs(4, sizes))?.set).toEqual(["m0", "m1", "m2", "m3"]);
  });

  test("gives its share of every device back to the planner", () => {
    const reading = {
      ...machine,
      backend: "cuda" as const,
      gpus: [{ name: "card", vramBytesTotal: 12 * GIB, vramBytesFree: 2 * GIB }],
    };
    const { plan } = planLoad(specFromParameterCount(8e9), {
      ...reading,
      gpus: [{ name: "card", vramBytesTotal: 12 * GIB, vramBytesFree: 11.5 * GIB }],
    });
    const [gpu] = plan.devices;
    const freed = withFreed(reading, [{ plan, hostBytes: GIB }]);
    expect(freed.gpus[0]!.vramBytesFree).toBe(Math.min(12 * GIB, 2 * GIB + gpu!.totalBytes));
    expect(freed.ramBytesFree).toBe(reading.ramBytesFree + GIB);
    expect(withFreed(reading, [{ plan, hostBytes: 100 * GIB }]).ramBytesFree).toBe(reading.ramBytesTotal);
  });
});
