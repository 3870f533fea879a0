/** Writes docs/fits.schema.json from the schemas of the machine door: npx tsx scripts/fits-schema.ts */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { fitsJsonSchema } from "../src/fit/door-schema.ts";

export const fitsSchemaPath = fileURLToPath(new URL("../docs/fits.schema.json", import.meta.url));

export function fitsSchema(): object {
  // Each has definitions of its own, which references find by its id.
  const named = Object.entries(fitsJsonSchema()).map(([name, schema]) => [
    name,
    { $id: `fits-${name}.json`, ...schema },
  ]);
  return {
    $comment: "Generated from src/fit/door-schema.ts by scripts/fits-schema.ts; a test fails when it is stale.",
    $defs: Object.fromEntries(named),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(fitsSchemaPath, `${JSON.stringify(fitsSchema(), undefined, 2)}\n`);
}
