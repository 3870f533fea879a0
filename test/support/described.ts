/** Holds real answers against /openapi.json, whichever test they are asked for in. */
import * as z from "zod";
import { describeApi } from "../../src/api/openapi.ts";

interface Description {
  paths: Record<
    string,
    Record<string, { responses: Record<string, { content?: Record<string, { schema: object }> }> }>
  >;
  components: { schemas: Record<string, object> };
}

const description = describeApi("test") as Description;

/** Routes with what a path of theirs looks like, those without parameters first. */
const routes = Object.keys(description.paths)
  .map((path) => ({ path, pattern: new RegExp(`^${path.replace(/\{\w+\}/g, "[^/]+")}$`), open: path.includes("{") }))
  .sort((a, b) => Number(a.open) - Number(b.open));

/** "POST /v1/keys 201 application/json" → what such an answer must be; undefined where the description has none. */
const validators = new Map<string, z.ZodType | undefined>();

function validatorOf(method: string, path: string, status: number, type: string): z.ZodType | undefined {
  const id = `${method} ${path} ${status} ${type}`;
  if (validators.has(id)) return validators.get(id);
  const responses = description.paths[path]?.[method.toLowerCase()]?.responses ?? {};
  const schema = (responses[status] ?? responses.default)?.content?.[type]?.schema;
  const whole = { ...schema, $defs: description.components.schemas };
  const text = JSON.stringify(whole).replaceAll("#/components/schemas/", "#/$defs/");
  const validator = schema === undefined ? undefined : z.fromJSONSchema(JSON.parse(text));
  validators.set(id, validator);
  return validator;
}

/**
 * @returns the route the answer belongs to, where there is one with this method
 * @throws Error when it is JSON that the description does not allow
 */
export async function holdToDescription(method: string, path: string, response: Response): Promise<string | undefined> {
  const route = routes.find(({ pattern }) => pattern.test(path));
  if (route === undefined || description.paths[route.path]?.[method.toLowerCase()] === undefined) return undefined;
  const type = (response.headers.get("content-type") ?? "").split(";")[0]!;
  // Streams are read by their tests; what is no JSON has no schema.
  if (!/json$/.test(type) || route.path === "/openapi.json") return `${method} ${route.path}`;
  const said = `${method} ${route.path} answered ${response.status} ${type}`;
  const validator = validatorOf(method, route.path, response.status, type);
  if (validator === undefined) throw new Error(`${said}, of which /openapi.json says nothing.`);
  const body = await response.clone().json();
  const { error } = validator.safeParse(body);
  if (error === undefined) return `${method} ${route.path}`;
  const issues = error.issues.map(({ path: place, message }) => `${place.join(".")}: ${message}`).join("; ");
  throw new Error(`${said} otherwise than /openapi.json says: ${issues}\n${JSON.stringify(body).slice(0, 1000)}`);
}
