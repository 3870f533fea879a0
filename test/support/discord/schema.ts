/**
 * Checks JSON bodies against Discord's published OpenAPI description, where it lies beside the checkout. A small JSON
 * Schema validator: the keywords that description uses, texts accepted for numbers as Discord does, and unknown members
 * reported, which JSON Schema alone would let pass.
 */
import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";

type Schema = { [keyword: string]: unknown };

interface OpenApi {
  paths: Record<string, Record<string, unknown>>;
  components: { schemas: Record<string, Schema> };
}

const path = resolve(import.meta.dirname, "../../../../shared/specs/discord-openapi.json");

/** Undefined where the description is not at hand; the stand-in then checks its own rules alone. */
export const discordApi: OpenApi | undefined = existsSync(path)
  ? (JSON.parse(readFileSync(path, "utf8")) as OpenApi)
  : undefined;

/** Members discord.js sends along with their default value wherever a message body goes. */
const tolerated = new Set(["tts", "nonce", "enforce_nonce", "with_response"]);

/**
 * @param route path template as in the description, e.g. "/channels/{channel_id}/messages"
 * @returns what is wrong; empty when all is well or the description is not at hand
 */
export function checkBody(method: string, route: string, body: unknown): string[] {
  if (discordApi === undefined) return [];
  const operation = discordApi.paths[route]?.[method.toLowerCase()] as
    | { requestBody?: { content: Record<string, { schema: Schema }> } }
    | undefined;
  if (operation === undefined) return [`${method} ${route} is not an operation of Discord's`];
  const schema = operation.requestBody?.content["application/json"]?.schema;
  if (schema === undefined) return body === undefined ? [] : [`${method} ${route} takes no body`];
  return check(schema, body, "");
}

function check(schema: Schema, value: unknown, at: string): string[] {
  if (typeof schema.$ref === "string") {
    return check(discordApi!.components.schemas[schema.$ref.split("/").at(-1)!]!, value, at);
  }
  const union = (schema.oneOf ?? schema.anyOf) as Schema[] | undefined;
  if (union !== undefined) return checkUnion(union, value, at);
  const inherited = ((schema.allOf ?? []) as Schema[]).flatMap((member) => check(member, value, at));
  if (inherited.length > 0) return inherited;
  const wrongType = checkType(schema, value, at);
  if (wrongType !== undefined) return [wrongType];
  if (value === null) return [];
  if (Array.isArray(value)) return checkArray(schema, value, at);
  if (typeof value === "object") return checkObject(schema, value as Record<string, unknown>, at);
  return checkScalar(schema, value as string | number | boolean, at);
}

/** The complaints of the member that came closest. */
function checkUnion(union: Schema[], value: unknown, at: string): string[] {
  let closest: string[] | undefined;
  for (const member of union) {
    const wrong = check(member, value, at);
    if (wrong.length === 0) return [];
    if (closest === undefined || depth(wrong) > depth(closest)) closest = wrong;
  }
  return closest ?? [];
}

function depth(wrong: readonly string[]): number {
  const isTag = wrong.some((one) => /\.type must be/.test(one));
  return Math.max(...wrong.map((one) => one.split(" ")[0]!.split(/[.[]/).length)) - (isTag ? 10 : 0);
}

function checkType(schema: Schema, value: unknown, at: string): string | undefined {
  if (schema.type === undefined) return undefined;
  const types = [schema.type].flat() as string[];
  if (types.some((type) => hasType(value, type))) return undefined;
  return `${at || "body"} must be ${types.join(" or ")}, not ${JSON.stringify(value)?.slice(0, 60)}`;
}

function hasType(value: unknown, type: string): boolean {
  if (type === "null") return value === null;
  if (type === "array") return Array.isArray(value);
  if (type === "object") return typeof value === "object" && value !== null && !Array.isArray(value);
  if (type === "integer") return Number.isInteger(value) || (typeof value === "string" && /^-?\d+$/.test(value));
  if (type === "number")
    return typeof value === "number" || (typeof value === "string" && value !== "" && !Number.isNaN(Number(value)));
  if (type === "boolean") return typeof value === "boolean";
  return typeof value === "string" || typeof value === "number";
}

function checkArray(schema: Schema, value: unknown[], at: string): string[] {
  const { minItems, maxItems, uniqueItems, items } = schema;
  const wrong: string[] = [];
  if (typeof minItems === "number" && value.length < minItems) wrong.push(`${at} must have ${minItems} items or more`);
  if (typeof maxItems === "number" && value.length > maxItems) wrong.push(`${at} must have ${maxItems} items at most`);
  const distinct = new Set(value.map((item) => JSON.stringify(item)));
  if (uniqueItems === true && distinct.size < value.length) wrong.push(`${at} must not repeat items`);
  if (items !== undefined)
    wrong.push(...value.flatMap((item, index) => check(items as Schema, item, `${at}[${index}]`)));
  return wrong;
}

function checkObject(schema: Schema, value: Record<string, unknown>, at: string): string[] {
  const properties = (schema.properties ?? {}) as Record<string, Schema>;
  const wrong = ((schema.required ?? []) as string[])
    .filter((key) => value[key] === undefined)
    .map((key) => `${at}.${key} must be there`);
  for (const [key, member] of Object.entries(value)) {
    if (member === undefined) continue;
    const inside = `${at}.${key}`;
    const known = properties[key];
    if (known !== undefined) wrong.push(...check(known, member, inside));
    else if (typeof schema.additionalProperties === "object") {
      wrong.push(...check(schema.additionalProperties as Schema, member, inside));
    } else if (Object.keys(properties).length > 0 && !tolerated.has(key)) wrong.push(`${inside} is unknown`);
  }
  const { maxProperties } = schema;
  if (typeof maxProperties === "number" && Object.keys(value).length > maxProperties) {
    wrong.push(`${at} must have ${maxProperties} members at most`);
  }
  return wrong;
}

function checkScalar(schema: Schema, value: string | number | boolean, at: string): string[] {
  const wrong: string[] = [];
  const { minLength, maxLength, minimum, maximum, pattern, format } = schema;
  if (schema.const !== undefined && schema.const !== value) wrong.push(`${at} must be ${JSON.stringify(schema.const)}`);
  const allowed = schema.enum as unknown[] | undefined;
  if (allowed !== undefined && !allowed.includes(value)) wrong.push(`${at} must be one of ${JSON.stringify(allowed)}`);
  const text = String(value);
  if (typeof minLength === "number" && text.length < minLength) wrong.push(`${at} is shorter than ${minLength}`);
  if (typeof maxLength === "number" && text.length > maxLength) wrong.push(`${at} is longer than ${maxLength}`);
  if (typeof pattern === "string" && !new RegExp(pattern, "u").test(text))
    wrong.push(`${at} does not match ${pattern}`);
  if (typeof minimum === "number" && Number(value) < minimum) wrong.push(`${at} is under ${minimum}`);
  if (typeof maximum === "number" && Number(value) > maximum) wrong.push(`${at} is over ${maximum}`);
  const formatPattern = formats[String(format)];
  if (formatPattern !== undefined && !formatPattern.test(text)) wrong.push(`${at} is no ${format}`);
  return wrong;
}

const formats: Record<string, RegExp> = {
  snowflake: /^(0|[1-9]\d{0,19})$/,
  "date-time": /^\d{4}-\d\d-\d\dT/,
  uri: /^[a-z][a-z0-9+.-]*:/i,
  nonce: /^.{0,25}$/,
};
