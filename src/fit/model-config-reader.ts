/** Look-ups in an untrusted config.json: the text part first, then the whole. */

type Json = Readonly<Record<string, unknown>>;

const TEXT_PARTS = ["text_config", "language_config", "llm_config", "thinker_config", "text_model"];
const OTHER_PARTS = ["vision_config", "audio_config", "vision_tower", "mm_vision_tower", "visual"];

export class ConfigReader {
  readonly #scopes: readonly Json[];
  readonly hasVision: boolean;

  constructor(config: Json) {
    const scopes: Json[] = [config];
    let part = textPartOf(config);
    // A thinker's text part lies two levels down; deeper nesting is not a model's.
    for (let depth = 0; part !== undefined && depth < 3; depth++) {
      scopes.unshift(part);
      part = textPartOf(part);
    }
    this.#scopes = scopes;
    this.hasVision = OTHER_PARTS.some((name) => config[name] !== undefined && config[name] !== null);
  }

  /** `model_type` of the text part, or of the whole. */
  get modelType(): string | undefined {
    return this.text("model_type");
  }

  /** Class names of the whole, then of the text part. */
  get classNames(): readonly string[] {
    return [...this.#scopes].reverse().flatMap((scope) => textsOf(own(scope, "architectures")) ?? []);
  }

  /** The first of `keys` that holds a number or a list of numbers; values are checked where they are used. */
  number(...keys: string[]): number | undefined {
    const value = this.first(keys, (one) => typeof one === "number");
    return value as number | undefined;
  }

  /** A number that may be a fraction. */
  real(...keys: string[]): number | undefined {
    return this.number(...keys);
  }

  list(...keys: string[]): readonly unknown[] | undefined {
    return this.first(keys, Array.isArray) as readonly unknown[] | undefined;
  }

  flag(key: string): boolean | undefined {
    return this.first([key], (one) => typeof one === "boolean") as boolean | undefined;
  }

  text(key: string): string | undefined {
    return this.first([key], (one) => typeof one === "string") as string | undefined;
  }

  texts(key: string): readonly string[] | undefined {
    return textsOf(this.first([key], Array.isArray));
  }

  object(key: string): Json | undefined {
    return this.first([key], isObject) as Json | undefined;
  }

  private first(keys: readonly string[], accept: (value: unknown) => boolean): unknown {
    for (const scope of this.#scopes) {
      for (const key of keys) {
        const value = own(scope, key);
        if (accept(value)) return value;
      }
    }
    return undefined;
  }
}

function textPartOf(config: Json): Json | undefined {
  for (const name of TEXT_PARTS) {
    const part = own(config, name);
    if (isObject(part)) return part;
  }
  return undefined;
}

function own(scope: Json, key: string): unknown {
  return Object.hasOwn(scope, key) ? scope[key] : undefined;
}

function textsOf(value: unknown): readonly string[] | undefined {
  if (!Array.isArray(value)) return undefined;
  return value.filter((one): one is string => typeof one === "string").slice(0, 4096);
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
