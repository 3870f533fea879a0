/** Generated models of three sizes, kept in the user's cache folder. */
import { existsSync, mkdirSync, renameSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { SHAPES } from "../../test/support/gguf/shapes.ts";
import { type ModelOptions, writeModel } from "../../test/support/gguf/write-model.ts";

const long = { contextLengthTrained: 8192 };
const options = {
  tiny: { shape: { ...SHAPES.tiny, ...long }, brain: "endless" },
  small: { shape: { ...SHAPES.small, ...long }, brain: "endless" },
  medium: { shape: { ...SHAPES.medium, ...long }, brain: "endless", type: "Q8_0" },
} as const satisfies Record<string, ModelOptions>;

export type BenchModel = keyof typeof options;

/** Path of the file, written first where it is not there: the largest takes a quarter of a minute. */
export function benchModel(name: BenchModel): string {
  const folder = join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "snug", "bench-models");
  const path = join(folder, `${name}-1.gguf`);
  if (existsSync(path)) return path;
  mkdirSync(folder, { recursive: true });
  writeModel(`${path}.part`, options[name]);
  renameSync(`${path}.part`, path);
  return path;
}
