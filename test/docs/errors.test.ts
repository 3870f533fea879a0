import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { errorsDocPath, renderErrorsDoc } from "../../scripts/errors-doc.ts";

it("docs/errors.md is what the error table says; refresh it with npx tsx scripts/errors-doc.ts", () => {
  expect(readFileSync(errorsDocPath, "utf8")).toBe(renderErrorsDoc());
});
