import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { glossaryDocPath, renderGlossaryDoc } from "../../scripts/glossary-doc.ts";

it("docs/glossary.md is what the glossary's data says; refresh it with npx tsx scripts/glossary-doc.ts", () => {
  expect(readFileSync(glossaryDocPath, "utf8")).toBe(renderGlossaryDoc());
});
