/**
 * Takes the place of zod's writer of JSON Schema in the Workers' scripts (`[alias]` in wrangler.toml): every schema
 * carries it along, and nothing there writes one, since /openapi.json is made before the deploy.
 */
function absent(): never {
  throw new Error("JSON Schema is written before the deploy, not on Workers.");
}

export const toJSONSchema = absent;
export const createToJSONSchemaMethod = () => absent;
export const createStandardJSONSchemaMethod = () => absent;
