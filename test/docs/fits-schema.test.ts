import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { fitsSchema, fitsSchemaPath } from "../../scripts/fits-schema.ts";

it("docs/fits.schema.json is what the machine door accepts; refresh it with npx tsx scripts/fits-schema.ts", () => {
  expect(JSON.parse(readFileSync(fitsSchemaPath, "utf8"))).toEqual(fitsSchema());
});
