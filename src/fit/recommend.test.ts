import { describe, expect, it } from "vitest";
import { CATALOGUE_MODELS, type CatalogueModel, specFromCatalogue } from "./catalogue.ts";
import { parseQuery } from "./query.ts";
import type { Purpose } from "./query-types.ts";
import { capability, PURPOSE_RULES, RANKING, type Recommendation, recommendModels, speedLoss } from "./recommend.ts";
import { recommendMachines } from "./recommend-hardware.ts";
import type { Hardware } from "./types.ts";

function machine(text: string): Hardware {
  return parseQuery(text).hardware!;
}

function row(name: string): CatalogueModel {
  return CATALOGUE_MODELS.find((model) => model.name === name)!;
}

describe("the ranking rule", () => {
  it("twice the parameters of the same age are one doubling", () => {
    const small = { ...row("Qwen3 8B") };
    const large = { ...small, parameterCount: small.parameterCount * 2 };
    expect(capability("chat", large) - capability("chat", small)).toBeCloseTo(1, 6);
  });

  it("a year younger counts as much as twice the size, and age before 2023 counts no more", () => {
    const model = row("Qwen3 8B");
    const younger = { ...model, release: "2026-04" };
    expect(capability("chat", younger) - capability("chat", { ...model, release: "2025-04" })).toBeCloseTo(
      RANKING.doublingsPerYear,
      6,
    );
    expect(capability("chat", { ...model, release: "2021-01" })).toBe(
      capability("chat", { ...model, release: "2022-12" }),
    );
  });

  it("a mixture of experts counts between its active and its whole size", () => {
    const moe = row("Qwen3 30B A3B");
    const effective = 2 ** (capability("chat", { ...moe, release: "2022-01" }) + 0) * 1e9;
    const { activeParameterCount } = specFromCatalogue(moe);
    expect(effective).toBeGreaterThan(activeParameterCount);
    expect(effective).toBeLessThan(moe.parameterCount);
    expect(effective).toBeCloseTo(Math.sqrt(moe.parameterCount * activeParameterCount), -6);
  });

  it("speed beyond what is enough earns nothing, and each halving below costs the same", () => {
    for (const purpose of Object.keys(PURPOSE_RULES) as Purpose[]) {
      const enough = PURPOSE_RULES[purpose].speedEnough;
      expect(speedLoss(purpose, enough)).toBe(0);
      expect(speedLoss(purpose, enough * 10)).toBe(0);
      expect(speedLoss(purpose, enough / 2)).toBeCloseTo(RANKING.doublingsPerSpeedHalving, 9);
      expect(speedLoss(purpose, enough / 4)).toBeCloseTo(2 * RANKING.doublingsPerSpeedHalving, 9);
    }
  });

  it("a model made for code gains where code is asked for", () => {
    const coder = row("Qwen2.5 Coder 7B");
    expect(capability("code", coder) - capability("code", { ...coder, uses: ["chat"] })).toBeCloseTo(
      RANKING.codeBonus,
      9,
    );
  });
});

describe("models for a machine", () => {
  it.each(["6gb", "24gb", "3060 laptop + 32gb ram", "m4 pro 48gb"])(
    "%s: the bounded search finds what trying everything finds",
    (text) => {
      const hardware = machine(text);
      // A third of the catalogue keeps the exhaustive side short.
      const candidates = CATALOGUE_MODELS.filter(
        (model, index) => index % 3 === 0 && !model.uses.includes("embedding") && model.parameterCount < 80e9,
      ).map(({ name }) => name);
      for (const purpose of ["chat", "fast"] as const) {
        const bounded = recommendModels(hardware, { purposes: [purpose], candidates, count: 3 });
        const all = candidates.flatMap((name) =>
          recommendModels(hardware, { purposes: [purpose], candidates: [name], count: 1 }),
        );
        const best = new Map<string, Recommendation>();
        for (const one of all.sort((a, b) => b.score - a.score)) {
          const { family } = row(one.model);
          if (!best.has(family)) best.set(family, one);
        }
        const scores = [...best.values()].slice(0, 3).map(({ score }) => score);
        expect(bounded.map(({ score }) => score)).toEqual(scores);
      }
    },
  );

  it("no model of the whole catalogue is passed over: 8gb + 16gb ram, for chat", () => {
    const hardware = machine("8gb + 16gb ram");
    const [best] = recommendModels(hardware, { purposes: ["chat"], count: 1 });
    const scores = CATALOGUE_MODELS.filter(({ uses }) => !uses.includes("embedding")).flatMap(({ name }) => {
      const [one] = recommendModels(hardware, { purposes: ["chat"], candidates: [name], count: 1 });
      return one === undefined || /safeguard/.test(name) ? [] : [one.score];
    });
    expect(best!.score).toBe(Math.max(...scores));
  });

  it("are sorted by score, of different families, and run", () => {
    for (const text of ["4gb", "6gb", "8gb", "12gb", "24gb", "2x24gb", "m4 16gb", "32gb ram"]) {
      for (const purpose of ["chat", "code", "long", "fast"] as const) {
        const picks = recommendModels(machine(text), { purposes: [purpose] });
        expect(picks.length, `${text} ${purpose}`).toBeGreaterThan(0);
        expect(picks.map(({ score }) => score)).toEqual(picks.map(({ score }) => score).sort((a, b) => b - a));
        expect(new Set(picks.map(({ model }) => row(model).family)).size).toBe(picks.length);
        for (const { plan } of picks) {
          expect(plan.fits).toBe(true);
          expect(plan.speed.decodeTokensPerSecond).toBeGreaterThanOrEqual(RANKING.tokensPerSecondMin);
        }
      }
    }
  });

  it("are never worse with more memory", () => {
    for (const purpose of ["chat", "code"] as const) {
      let before = Number.NEGATIVE_INFINITY;
      for (const text of ["4gb", "6gb", "8gb", "12gb", "16gb", "24gb"]) {
        // The same bandwidth throughout, so that memory alone differs.
        const hardware = machine(text);
        const alike = {
          ...hardware,
          ramBytesTotal: 32 * 2 ** 30,
          gpus: hardware.gpus.map((gpu) => ({ ...gpu, bandwidthBytesPerSecond: 400e9 })),
        };
        const score = recommendModels(alike, { purposes: [purpose], count: 1 })[0]!.score;
        // A larger card may take a larger mix and lose a little speed for it.
        expect(score, text).toBeGreaterThan(before - 0.5);
        before = score;
      }
    }
  });

  it("long context is planned long, and a context asked for is kept", () => {
    for (const { plan } of recommendModels(machine("24gb"), { purposes: ["long"] }))
      expect(plan.settings.contextLength).toBe(32_768);
    for (const { plan } of recommendModels(machine("24gb"), { purposes: ["chat"], wish: { contextLength: 20_000 } }))
      expect(plan.settings.contextLength).toBe(20_000);
  });

  it("a speed asked for is kept", () => {
    for (const { plan } of recommendModels(machine("24gb"), { purposes: ["chat"], decodeTokensPerSecondMin: 60 })) {
      expect(plan.speed.decodeTokensPerSecond).toBeGreaterThanOrEqual(60);
    }
  });

  it("no embedding model is offered for talking to", () => {
    for (const { model } of recommendModels(machine("2gb"))) expect(row(model).uses).not.toContain("embedding");
  });
});

describe("machines for a model", () => {
  it("hold it whole, cost more one after the other, and each is clearly faster than the cheaper ones", () => {
    for (const name of ["Llama 3.1 8B", "Qwen3 32B", "Llama 3.3 70B", "Qwen3 30B A3B"]) {
      const found = recommendMachines(specFromCatalogue(row(name)), { decodeTokensPerSecondMin: 10 });
      expect(found.length, name).toBeGreaterThan(0);
      found.forEach((one, index) => {
        expect(one.plan.offload).toBe("full");
        expect(one.plan.speed.decodeTokensPerSecond).toBeGreaterThanOrEqual(10);
        const before = found[index - 1];
        if (before === undefined) return;
        expect(one.priceUsd).toBeGreaterThanOrEqual(before.priceUsd);
        expect(one.plan.speed.decodeTokensPerSecond).toBeGreaterThan(before.plan.speed.decodeTokensPerSecond);
      });
    }
  });

  it("without a speed asked for, one cheaper and slower may stand first", () => {
    const model = specFromCatalogue(row("Llama 3.3 70B"));
    const [first, second] = recommendMachines(model);
    expect(first!.plan.speed.decodeTokensPerSecond).toBeLessThan(10);
    expect(first!.priceUsd).toBeLessThan(second!.priceUsd);
    expect(second!.plan.speed.decodeTokensPerSecond).toBeGreaterThanOrEqual(10);
  });

  it("are none for what no priced machine holds", () => {
    expect(recommendMachines(specFromCatalogue(row("Kimi K2 1T")), { wish: { quantization: "Q8_0" } })).toEqual([]);
  });
});
