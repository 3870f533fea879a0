/**
 * Field names of a request: another spelling of a name is taken, a name nobody could mean is left out and said, and
 * what looks like a misspelling is refused, because a setting that is silently dropped gives a wrong plan.
 */
import { AppError } from "../core/errors.ts";
import { squash } from "./door-values.ts";
import { editDistance } from "./gpu-names.ts";

export interface FieldRules {
  /** Where the object stands, for messages: "settings", "" for the request itself. */
  where: string;
  known: readonly string[];
  /** Names that mean something elsewhere and so must not be dropped here. */
  refused?: readonly string[];
  /** Squashed other names of known fields. */
  otherNames?: Readonly<Record<string, string>>;
}

/** Fields left out are named this many times at most; a request may hold thousands. */
const notesMax = 5;

/** Words that make an unknown name look like an amount, which must not be dropped. */
const amountWords = /vram|gib|gb$|mib|mb$|bytes|bandwidth|layers|context|ctx|batch|cache/;

/**
 * The object with known names only. Nothing given (null) is the same as left out.
 *
 * @param notes gets a sentence for each field left out
 * @throws AppError invalid_request naming the field that looks misspelled or stands in the wrong place
 */
export function tidyFields(given: object, rules: FieldRules, notes: string[]): Record<string, unknown> {
  const { known, otherNames = {} } = rules;
  const tidy: Record<string, unknown> = Object.create(null);
  const byKey = new Map(known.map((name) => [squash(name), name]));
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === undefined) continue;
    const field = known.includes(name) ? name : (byKey.get(squash(name)) ?? otherNames[squash(name)]);
    if (field === undefined) leaveOut(name, rules, notes);
    else if (field in tidy) throw wrong(pathOf(rules, name), `${field} is given twice`);
    else tidy[field] = value;
  }
  return { ...tidy };
}

function leaveOut(name: string, rules: FieldRules, notes: string[]): void {
  const { known, refused = [] } = rules;
  const key = squash(name);
  const path = pathOf(rules, name);
  if (refused.includes(name)) throw wrong(path, "there is no such field here");
  const near = known.find((field) => isNear(key, squash(field)));
  if (near !== undefined) throw wrong(path, `there is no such field; did you mean ${near}`);
  if (amountWords.test(key)) throw wrong(path, `there is no such field; known are ${known.join(", ")}`);
  if (notes.length < notesMax) notes.push(`The request's field ${path} is not known and was left out.`);
}

function isNear(key: string, field: string): boolean {
  const longest = Math.max(key.length, field.length);
  if (longest > 40 || Math.abs(key.length - field.length) > 3) return false;
  return editDistance(key, field) <= (longest > 8 ? 3 : longest > 4 ? 1 : 0);
}

function pathOf({ where }: FieldRules, name: string): string {
  const short = name.slice(0, 60);
  return where === "" ? short : `${where}.${short}`;
}

function wrong(param: string, message: string): AppError {
  return new AppError("invalid_request", `${param} is wrong: ${message}.`, { param });
}
