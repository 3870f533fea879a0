/** Writes docs/fits.schema.json from the schemas of the machine door: npx tsx scripts/fits-schema.ts */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { fitsJsonSchema } from "../src/fit/door-schema.ts";

export const fitsSchemaPath = fileURLToPath(new URL("../docs/fits.schema.json", import.meta.url));

export function fitsSchema(): object {
  const { request, reply } = fitsJsonSchema();
  return {
    $comment: "Generated from src/fit/door-schema.ts by scripts/fits-schema.ts; a test fails when it is stale.",
    $defs: { request, reply },
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(fitsSchemaPath, `${JSON.stringify(fitsSchema(), undefined, 2)}\n`);
}
