import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { CATALOGUE_MODELS } from "../../src/fit/catalogue.ts";
import { GPUS } from "../../src/fit/gpus.ts";

/** Pages that say how many models and cards the planner knows. */
const pages = ["README.md", "README.zh.md", "CHANGELOG.md", "docs/speed.md"];

it("counts of models and cards in pages are those of the tables", () => {
  const said = { models: 0, cards: 0 };
  for (const page of pages) {
    const text = readFileSync(page, "utf8");
    for (const [, count] of text.matchAll(/\b(\d{3}) models\b|(?<=[^\d])(\d{3}) ?(?:个|种)模型/g)) {
      if (count === undefined) continue;
      said.models++;
      expect(Number(count), page).toBe(CATALOGUE_MODELS.length);
    }
    for (const [, count] of text.matchAll(/\b(\d{3}) (?:cards|GPUs)\b/g)) {
      said.cards++;
      expect(Number(count), page).toBe(GPUS.length);
    }
  }
  // Where no page said any, this test would say nothing.
  expect(said.models).toBeGreaterThan(0);
  expect(said.cards).toBeGreaterThan(0);
});
