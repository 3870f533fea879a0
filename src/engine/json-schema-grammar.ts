/**
 * A JSON Schema as a grammar whose every text satisfies the schema.
 *
 * Some rules cannot be said in a grammar of bounded size. Where the request is strict they are refused by name; else the
 * rest of the schema is kept and they are left to the model.
 */
import { AppError } from "../core/errors.ts";
import { grammarRepetitionsMax, schemaDepthMax, schemaNodesMax } from "../core/limits.ts";
import { anyOf, type GrammarRules } from "./grammar.ts";
import { JsonRules } from "./json-grammar.ts";

export interface SchemaOptions {
  /** Where the schema stands in the request, for errors: "response_format.json_schema.schema". */
  param: string;
  /** Refuse what the grammar cannot guarantee. */
  strict: boolean;
}

type Schema = Record<string, unknown>;

/** Keywords that say nothing about the value. */
const annotations = new Set(
  "$schema $id $comment $defs definitions title description default examples deprecated readOnly writeOnly".split(" "),
);

const known: Record<string, readonly string[]> = {
  object: ["properties", "required", "additionalProperties", "minProperties", "maxProperties"],
  array: ["items", "prefixItems", "minItems", "maxItems"],
  string: ["minLength", "maxLength", "format"],
  number: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"],
  integer: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"],
  boolean: [],
  null: [],
};

const dayTo30 = '("0" [1-9] | [12] [0-9] | "30")';
/** Every one of them is a real day, so there is no 29 February. */
const monthAndDay = [
  `("01" | "03" | "05" | "07" | "08" | "10" | "12") "-" (${dayTo30} | "31")`,
  `("04" | "06" | "09" | "11") "-" ${dayTo30}`,
  '"02-" ("0" [1-9] | "1" [0-9] | "2" [0-8])',
];
const date = `[0-9]{4} "-" (${monthAndDay.join(" | ")})`;
const time = `([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{1,6})? ("Z" | [-+] ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9])`;
const formats: Record<string, string> = {
  date,
  time,
  "date-time": `${date} "T" ${time}`,
  // A random one, as version 4 is written.
  uuid: '[0-9a-f]{8} "-" [0-9a-f]{4} "-4" [0-9a-f]{3} "-" [89ab] [0-9a-f]{3} "-" [0-9a-f]{12}',
};

/**
 * @returns the name of the rule
 * @throws AppError invalid_request whose `param` names the part of the schema at fault
 */
export function addSchema(rules: GrammarRules, schema: unknown, options: SchemaOptions): string {
  return new SchemaWriter(rules, schema, options).write();
}

class SchemaWriter {
  readonly #json: JsonRules;
  readonly #root: unknown;
  readonly #options: SchemaOptions;
  /** Rules of parts that are referred to, by their pointer. */
  readonly #references = new Map<string, string>();
  #nodes = 0;

  constructor(rules: GrammarRules, root: unknown, options: SchemaOptions) {
    this.#json = new JsonRules(rules);
    this.#root = root;
    this.#options = options;
  }

  write(): string {
    return this.#reference("#", []);
  }

  /** @param open references on the way here between which nothing is written: meeting one again would never end */
  #visit(schema: unknown, path: string, depth: number, open: readonly string[]): string {
    if (++this.#nodes > schemaNodesMax) throw this.#error(path, `has more than ${schemaNodesMax} parts; simplify it`);
    if (depth > schemaDepthMax) throw this.#error(path, `is nested deeper than ${schemaDepthMax}; simplify it`);
    if (schema === true) return this.#json.any();
    if (!isObject(schema)) throw this.#error(path, "must be a JSON Schema: an object or true");
    if (schema.$ref !== undefined) return this.#referTo(schema, path, open);
    const union = schema.anyOf ?? schema.oneOf;
    if (union !== undefined) return this.#union(schema, union, path, depth, open);
    if (schema.allOf !== undefined) return this.#all(schema, path, depth, open);
    if (Object.hasOwn(schema, "const")) return this.#json.rules.rule(this.#json.constant(schema.const));
    if (schema.enum !== undefined) return this.#enumeration(schema.enum, path);
    return this.#typed(schema, path, depth);
  }

  #referTo(schema: Schema, path: string, open: readonly string[]): string {
    this.#checkKeywords(schema, ["$ref"], path);
    const pointer = schema.$ref;
    if (typeof pointer !== "string" || !/^#(\/|$)/.test(pointer)) {
      throw this.#error(`${path}.$ref`, 'must point into the same schema, as "#/$defs/name"');
    }
    if (open.includes(pointer)) throw this.#error(`${path}.$ref`, "refers to itself without an end");
    return this.#reference(pointer, open);
  }

  #reference(pointer: string, open: readonly string[]): string {
    const known = this.#references.get(pointer);
    if (known !== undefined) return known;
    const name = this.#json.rules.reserve();
    this.#references.set(pointer, name);
    const keys = pointer.split("/").slice(1).map(unescapePointer);
    const part = keys.reduce<unknown>(
      (value, key) => (isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined),
      this.#root,
    );
    const path = [this.#options.param, ...keys].join(".");
    if (part === undefined) throw this.#error(this.#options.param, `has no ${JSON.stringify(pointer.slice(0, 100))}`);
    this.#json.rules.define(name, this.#visit(part, path, keys.length, [...open, pointer]));
    return name;
  }

  #union(schema: Schema, union: unknown, path: string, depth: number, open: readonly string[]): string {
    const keyword = schema.anyOf === undefined ? "oneOf" : "anyOf";
    this.#checkKeywords(schema, [keyword, "type"], path);
    if (!Array.isArray(union) || union.length === 0)
      throw this.#error(`${path}.${keyword}`, "must be a list of schemas");
    return this.#json.rules.rule(
      anyOf(union.map((option, index) => this.#visit(option, `${path}.${keyword}[${index}]`, depth + 1, open))),
    );
  }

  #all(schema: Schema, path: string, depth: number, open: readonly string[]): string {
    const { allOf } = schema;
    if (!Array.isArray(allOf) || allOf.length === 0) throw this.#error(`${path}.allOf`, "must be a list of schemas");
    if (allOf.length > 1) this.#unsupported(`${path}.allOf`);
    this.#checkKeywords(schema, ["allOf"], path);
    return allOf.length > 1 ? this.#json.any() : this.#visit(allOf[0], `${path}.allOf[0]`, depth + 1, open);
  }

  #enumeration(values: unknown, path: string): string {
    if (!Array.isArray(values) || values.length === 0) throw this.#error(`${path}.enum`, "must be a list of values");
    this.#nodes += values.length;
    if (this.#nodes > schemaNodesMax) throw this.#error(`${path}.enum`, "has too many values");
    return this.#json.rules.rule(anyOf(values.map((value) => this.#json.constant(value))));
  }

  #typed(schema: Schema, path: string, depth: number): string {
    const types = typesOf(schema);
    const unknown = types.find((type) => typeof type !== "string" || !Object.hasOwn(known, type));
    if (unknown !== undefined) {
      throw this.#error(`${path}.type`, `must be one of ${Object.keys(known).join(", ")}, or a list of them`);
    }
    this.#checkKeywords(schema, ["type", ...types.flatMap((type) => known[String(type)] ?? [])], path);
    if (types.length === 0) return this.#json.any();
    return this.#json.rules.rule(anyOf(types.map((type) => this.#ofType(String(type), schema, path, depth))));
  }

  #ofType(type: string, schema: Schema, path: string, depth: number): string {
    switch (type) {
      case "object":
        return this.#object(schema, path, depth);
      case "array":
        return this.#array(schema, path, depth);
      case "string":
        return this.#string(schema, path);
      case "boolean":
        return this.#json.boolean();
      case "null":
        return this.#json.null();
      default:
        return this.#number(type === "integer", schema, path);
    }
  }

  #object(schema: Schema, path: string, depth: number): string {
    const { properties = {}, required = [], additionalProperties } = schema;
    if (!isObject(properties)) throw this.#error(`${path}.properties`, "must be an object of schemas");
    if (!Array.isArray(required)) throw this.#error(`${path}.required`, "must be a list of names");
    const missing = required.find((key) => !Object.hasOwn(properties, String(key)));
    if (missing !== undefined) {
      const named = JSON.stringify(String(missing).slice(0, 100));
      throw this.#error(`${path}.required`, `names ${named}, which is not among the properties`);
    }
    const keys = Object.keys(properties);
    if (keys.length === 0 && additionalProperties !== false) {
      const value =
        additionalProperties === undefined
          ? this.#json.any()
          : this.#visit(additionalProperties, `${path}.additionalProperties`, depth + 1, []);
      return this.#json.map(value, ...this.#bounds(schema, "minProperties", "maxProperties", path));
    }
    if (schema.minProperties !== undefined) this.#unsupported(`${path}.minProperties`);
    if (schema.maxProperties !== undefined) this.#unsupported(`${path}.maxProperties`);
    // Keys beyond the listed ones are never written, which every schema allows.
    return this.#json.object(
      keys.map((key) => ({
        key,
        value: this.#visit(properties[key], `${path}.properties.${key}`, depth + 1, []),
        required: required.includes(key),
      })),
    );
  }

  #array(schema: Schema, path: string, depth: number): string {
    const { prefixItems, items = true } = schema;
    const [least, most] = this.#bounds(schema, "minItems", "maxItems", path);
    if (prefixItems === undefined) {
      if (items === false) return this.#json.array(this.#json.null(), 0, 0);
      return this.#json.array(this.#visit(items, `${path}.items`, depth + 1, []), least, most);
    }
    if (!Array.isArray(prefixItems) || prefixItems.length === 0) {
      throw this.#error(`${path}.prefixItems`, "must be a list of schemas");
    }
    const size = prefixItems.length;
    // A tuple of exactly these is what is nearly always meant, and satisfies the looser readings.
    if (least > size || most < size) this.#unsupported(`${path}.${least > size ? "minItems" : "maxItems"}`);
    const parts = prefixItems.map((item, index) => this.#visit(item, `${path}.prefixItems[${index}]`, depth + 1, []));
    const { rules, space, comma } = this.#json;
    return rules.rule(`"[" ${space} ${parts.join(` ${comma} `)} ${space} "]"`);
  }

  #string(schema: Schema, path: string): string {
    const { format } = schema;
    if (format !== undefined) {
      const form = typeof format === "string" && Object.hasOwn(formats, format) ? formats[format] : undefined;
      if (form !== undefined) return this.#json.rules.rule(`"\\"" ${form} "\\""`);
      this.#unsupported(`${path}.format`);
    }
    return this.#json.string(...this.#bounds(schema, "minLength", "maxLength", path));
  }

  #number(whole: boolean, schema: Schema, path: string): string {
    const low = this.#numberOf(schema, "minimum", path);
    const high = this.#numberOf(schema, "maximum", path);
    const above = this.#numberOf(schema, "exclusiveMinimum", path);
    const below = this.#numberOf(schema, "exclusiveMaximum", path);
    if (whole) {
      const least = Math.max(Math.ceil(low ?? -Infinity), above === undefined ? -Infinity : Math.floor(above) + 1);
      const most = Math.min(Math.floor(high ?? Infinity), below === undefined ? Infinity : Math.ceil(below) - 1);
      if (most < least) throw this.#error(path, "allows no number: its minimum is over its maximum");
      if (most - least < grammarRepetitionsMax) {
        const numbers = Array.from({ length: most - least + 1 }, (_, index) => `"${least + index}"`);
        return this.#json.rules.rule(anyOf(numbers));
      }
      if (most === Infinity && least === 0) return this.#json.integer(false);
      if (most === Infinity && least === 1) return this.#json.rules.rule("[1-9] [0-9]{0,14}");
    }
    const natural = !whole && low === 0 && high === undefined && above === undefined && below === undefined;
    if (natural) return this.#json.number(false);
    for (const keyword of known.number ?? []) {
      if (schema[keyword] !== undefined) this.#unsupported(`${path}.${keyword}`);
    }
    return whole ? this.#json.integer() : this.#json.number();
  }

  #numberOf(schema: Schema, keyword: string, path: string): number | undefined {
    const value = schema[keyword];
    if (value === undefined) return undefined;
    if (typeof value !== "number") throw this.#error(`${path}.${keyword}`, "must be a number");
    return value;
  }

  #bounds(schema: Schema, least: string, most: string, path: string): [number, number] {
    const values = [least, most].map((keyword) => {
      const value = this.#numberOf(schema, keyword, path);
      if (value === undefined) return undefined;
      if (!Number.isInteger(value) || value < 0) throw this.#error(`${path}.${keyword}`, "must be a count");
      if (value <= grammarRepetitionsMax) return value;
      this.#unsupported(`${path}.${keyword}`, `is over ${grammarRepetitionsMax}`);
      return keyword === least ? grammarRepetitionsMax : undefined;
    });
    const [low = 0, high = Number.POSITIVE_INFINITY] = values;
    if (high < low) throw this.#error(`${path}.${most}`, `must be at least ${least}`);
    return [low, high];
  }

  #checkKeywords(schema: Schema, allowed: readonly string[], path: string): void {
    for (const keyword of Object.keys(schema)) {
      if (!allowed.includes(keyword) && !annotations.has(keyword)) this.#unsupported(`${path}.${keyword}`);
    }
  }

  #unsupported(path: string, fault = "cannot be guaranteed here"): void {
    if (this.#options.strict) throw this.#error(path, `${fault}; leave it out, or leave out strict`);
  }

  #error(path: string, fault: string): AppError {
    const param = path.slice(0, 300);
    return new AppError("invalid_request", `${param} ${fault}.`, { param });
  }
}

/** Schemas often leave out the type that their keywords tell. */
function typesOf(schema: Schema): unknown[] {
  if (schema.type !== undefined) return Array.isArray(schema.type) ? schema.type : [schema.type];
  const told = Object.entries(known).find(([, keywords]) => keywords.some((keyword) => Object.hasOwn(schema, keyword)));
  return told === undefined ? [] : [told[0]];
}

function unescapePointer(key: string): string {
  try {
    return decodeURIComponent(key).replaceAll("~1", "/").replaceAll("~0", "~");
  } catch {
    return key;
  }
}

function isObject(value: unknown): value is Schema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
