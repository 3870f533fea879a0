import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { CLAIMS, claimsDocPath, renderClaimsDoc } from "../../scripts/claims-doc.ts";
import { EVIDENCE } from "../../scripts/claims-evidence.ts";

describe("the claims page", () => {
  it("is what the planner says today; refresh it with npx tsx scripts/claims-doc.ts", () => {
    expect(readFileSync(claimsDocPath, "utf8")).toBe(renderClaimsDoc());
  });

  it("answers every claim, and no other", () => {
    expect(Object.keys(EVIDENCE).sort()).toEqual(CLAIMS.map(({ id }) => id).sort());
  });

  it("holds numbers in every row that is about numbers", () => {
    for (const { id } of CLAIMS) {
      const { numbers, reason } = EVIDENCE[id]!();
      expect(reason.length, id).toBeGreaterThan(20);
      expect(`${numbers}${reason}`, id).not.toMatch(/undefined|NaN|Infinity/);
      if (!["B3", "D6"].includes(id)) expect(numbers, id).toMatch(/\d/);
    }
  });
});
