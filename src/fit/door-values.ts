/**
 * Values of a request in the forms programs write them: numbers as text, memory with its unit, other spellings of a
 * choice. Only what can mean one thing is taken; everything else is refused by name.
 */
import * as z from "zod";
import { GIB, KIB, MIB } from "../core/units.ts";

const plainNumber = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i;

/** A number, or the same as text: "4096", "8e9". */
function readNumber(text: string): number | undefined {
  return plainNumber.test(text.trim()) ? Number(text) : undefined;
}

const memoryUnits: Record<string, number> = { k: KIB, m: MIB, g: GIB, t: 1024 * GIB };

/** Bytes; as text also with a unit. Cards and memory modules say GB for 2^30 bytes, so GB and GiB are the same here. */
function readMemory(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgt])(?:i?b)?$/i.exec(text.trim());
  if (match !== null) return Number(match[1]) * memoryUnits[match[2]!.toLowerCase()]!;
  return readNumber(text.replace(/\s*(?:b|bytes)$/i, ""));
}

/** Bytes per second; as text also "360 GB/s", which is decimal as on data sheets, or "335 GiB/s". */
function readBandwidth(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([gt])(i?)b\s*\/\s*s(?:ec)?$/i.exec(text.trim());
  if (match === null) return readNumber(text);
  const tera = match[2]!.toLowerCase() === "t";
  const unit = match[3] === "" ? (tera ? 1e12 : 1e9) : tera ? 1024 * GIB : GIB;
  return Number(match[1]) * unit;
}

/** Parameters; as text also "8b" or "8.03B". */
function readParameters(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([mbt])$/i.exec(text.trim());
  if (match === null) return readNumber(text);
  const units: Record<string, number> = { m: 1e6, b: 1e9, t: 1e12 };
  return Number(match[1]) * units[match[2]!.toLowerCase()]!;
}

/** Tokens; as text also "16k", which is 16384 as everywhere in this field. */
function readTokens(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*k$/i.exec(text.trim());
  return match === null ? readNumber(text) : Number(match[1]) * KIB;
}

interface NumberRule {
  read: (text: string) => number | undefined;
  allows: (value: number) => boolean;
  expected: string;
}

/** A number that may come as text. What does not qualify is told what was expected. */
function numberField({ read, allows, expected }: NumberRule) {
  const number = z.number().refine(allows, expected);
  const text = z
    .string()
    .max(40)
    .transform((value, context) => {
      const result = read(value);
      if (result !== undefined && Number.isFinite(result) && allows(result)) return result;
      context.addIssue({ code: "custom", message: expected });
      return z.NEVER;
    });
  return z.union([number, text], `expected ${expected}`);
}

export const bytesField = numberField({
  read: readMemory,
  allows: (value) => value >= 0,
  expected: 'a number of bytes, or text such as "8 GiB"',
});

/** Sizes of files are told apart by more than the 7 % between GB and GiB, so these take no unit. */
export const fileBytesField = numberField({
  read: readNumber,
  allows: (value) => value > 0,
  expected: "a number of bytes above 0",
});

export const bandwidthField = numberField({
  read: readBandwidth,
  allows: (value) => value > 0,
  expected: 'a number of bytes per second, or text such as "360 GB/s"',
});

export const parameterCountField = numberField({
  read: readParameters,
  allows: (value) => value >= 1000,
  expected: 'a number of parameters such as 8030000000, or text such as "8b"',
});

export const countField = numberField({
  read: readNumber,
  allows: (value) => Number.isInteger(value) && value > 0,
  expected: "a whole number above 0",
});

export const countOrZeroField = numberField({
  read: readNumber,
  allows: (value) => Number.isInteger(value) && value >= 0,
  expected: "a whole number, 0 or more",
});

export const tokensField = numberField({
  read: readTokens,
  allows: (value) => Number.isInteger(value) && value > 0,
  expected: 'a whole number of tokens above 0, or text such as "16k"',
});

/** More than any model has; the planner takes it as all of them. */
const allLayers = 10_000;

/** Layers on the GPU: a number, or llama.cpp's word for all of them. */
export const gpuLayersField = z.union(
  [
    z.literal("all").transform(() => allLayers),
    numberField({
      read: readNumber,
      allows: (value) => Number.isInteger(value) && value >= 0,
      expected: "a whole number of layers",
    }),
  ],
  'expected a whole number of layers, 0 or more, or "all"',
);

export const switchField = z.union(
  [
    z.boolean(),
    z.literal([0, 1]).transform((value) => value === 1),
    z.literal(["on", "true", "1"]).transform(() => true),
    z.literal(["off", "false", "0"]).transform(() => false),
  ],
  'expected true or false, or "on" or "off"',
);

/** One of `values`, whatever its case and punctuation, or another name that means one of them. */
export function choiceField<Value extends string>(
  values: readonly Value[],
  otherNames: Readonly<Record<string, Value>> = {},
) {
  const byKey = new Map<string, Value>(values.map((value) => [squash(value), value]));
  for (const [name, value] of Object.entries(otherNames)) byKey.set(squash(name), value);
  const expected = `expected one of ${values.join(", ")}`;
  return z.union(
    [
      z.enum(values as readonly [Value, ...Value[]]),
      z
        .string()
        .max(60)
        .transform((text, context): Value => {
          const found = byKey.get(squash(text));
          if (found !== undefined) return found;
          context.addIssue({ code: "custom", message: expected });
          return z.NEVER;
        }),
    ],
    expected,
  );
}

/** Letters and digits alone, so that spellings compare. */
export function squash(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, "");
}
