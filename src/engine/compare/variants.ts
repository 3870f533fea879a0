/** The files of a comparison: found on this disk, made from an unquantized one, or fetched. */
import { spawn } from "node:child_process";
import { access, constants, readdir } from "node:fs/promises";
import { basename, delimiter, dirname, join } from "node:path";
import { AppError } from "../../core/errors.ts";
import type { HardwareReading } from "../../core/ports.ts";
import type { VariantOrigin } from "../../fit/compare-report.ts";
import { quantizationOfName } from "../../fit/quantization-names.ts";
import { checkModelFile, readModelHeader } from "../check-model.ts";
import { OWN_QUANTIZATIONS, planQuantization } from "../quantize/quantize-file.ts";
import type { ModelStore } from "../store.ts";
import { familyOf, modelId } from "../store-scan.ts";
import type { ChildProgram } from "../supervisor.ts";
import { withWorkbench } from "../workbench.ts";

export type VariantStore = Pick<ModelStore, "find" | "get" | "lookUp">;

export interface ModelFile {
  path: string;
  quantization: string;
}

/** What a name stands for, before anything is made or fetched. */
export interface Variants {
  name: string;
  /** What other quantizations are fetched by; a repository without the file that was named in it. */
  remote: string;
  demo: boolean;
  /** Quantizations at hand, as many as are found; highest precision first. */
  files: ModelFile[];
  /** An unquantized file others can be made from. */
  source: ModelFile | undefined;
}

export interface PrepareOptions {
  program: ChildProgram;
  store: VariantStore;
  reading(): Promise<HardwareReading>;
  /** Made files go there and with it. */
  folder: string;
  signal: AbortSignal;
  onProgress(share: number): void;
}

const floatOrder = ["F32", "BF16", "F16"];

/** @throws AppError model_not_found and what reading a file throws */
export async function findVariants(wanted: string, store: VariantStore): Promise<Variants> {
  const here = await store.lookUp(wanted).catch((thrown) => {
    if (thrown instanceof AppError && thrown.code === "model_not_found") return undefined;
    throw thrown;
  });
  const found = here === undefined ? await store.find(wanted) : [];
  const first = here ?? found[0];
  const repository = /^hf:[^:]+/i.exec(wanted)?.[0];
  if (first === undefined) {
    return { name: wanted, remote: repository ?? wanted, demo: false, files: [], source: undefined };
  }
  const family = familyOf(first.id);
  const paths = new Set([first.path, ...found.map(({ path }) => path)]);
  for (const other of await store.find(family).catch(() => [])) paths.add(other.path);
  for (const other of await siblingsOf(first.path, family)) paths.add(other);
  const files: ModelFile[] = [];
  for (const path of paths) {
    const quantization = await quantizationOf(path);
    if (quantization !== undefined && !files.some((one) => one.quantization === quantization)) {
      files.push({ path, quantization });
    }
  }
  files.sort((left, right) => precisionOf(right.quantization) - precisionOf(left.quantization));
  return {
    name: here?.demo === true ? "demo" : family,
    remote: repository ?? family,
    demo: here?.demo === true,
    files,
    source: files.find(({ quantization }) => floatOrder.includes(quantization)),
  };
}

/** The header knows best; a label in the name serves where it is silent. */
async function quantizationOf(path: string): Promise<string | undefined> {
  const checked = await checkModelFile(path);
  return checked.quantization ?? quantizationOfName(basename(path));
}

async function siblingsOf(path: string, family: string): Promise<string[]> {
  const names = await readdir(dirname(path)).catch(() => []);
  return names
    .filter((name) => /\.gguf$/i.test(name) && familyOf(modelId(name)) === family)
    .map((name) => join(dirname(path), name));
}

/** For the order of columns: bits a weight, roughly; sizes decide between mixes of one type. */
export function precisionOf(quantization: string): number {
  const float = floatOrder.indexOf(quantization);
  if (float >= 0) return 100 - float;
  const bits = Number(/(\d+)/.exec(quantization)?.[1] ?? 0);
  const mix = ["_S", "_0", "_K", "_M", "_1", "_L"].findIndex((end) => quantization.endsWith(end));
  return bits + (mix + 1) / 10;
}

/** The file of one quantization. Throws AppError with what to do. */
export async function prepareVariant(
  variants: Variants,
  quantization: string,
  options: PrepareOptions,
): Promise<{ path: string; origin: VariantOrigin }> {
  const here = variants.files.find((file) => file.quantization === quantization);
  if (here !== undefined) return { path: here.path, origin: "disk" };
  if (variants.source !== undefined) {
    const target = join(options.folder, `${quantization}.gguf`);
    return { path: target, origin: await makeVariant(variants.source.path, target, quantization, options) };
  }
  const { store, signal, onProgress, reading } = options;
  const separator = /^hf:/i.test(variants.remote) ? ":" : "-";
  const pulled = await store.get(`${variants.remote}${separator}${quantization.toLowerCase()}`, {
    signal,
    reading,
    onProgress: ({ bytesDone, bytesTotal }) => onProgress(bytesTotal === undefined ? 0 : bytesDone / bytesTotal),
  });
  return { path: pulled.path, origin: pulled.already ? "disk" : "download" };
}

async function makeVariant(
  source: string,
  target: string,
  quantization: string,
  { program, signal, onProgress }: PrepareOptions,
): Promise<VariantOrigin> {
  const mix = OWN_QUANTIZATIONS.find((own) => own === quantization);
  if (mix === undefined) {
    const tool = await findOnPath("llama-quantize");
    if (tool === undefined) {
      const message = `There is no file in ${quantization}, and it cannot be made here: own types are ${OWN_QUANTIZATIONS.join(", ")}. With llama.cpp's llama-quantize in PATH it could.`;
      throw new AppError("invalid_request", message, { param: "quantizations" });
    }
    await runQuantizer(tool, [source, target, quantization], signal);
    return "llama-quantize";
  }
  planQuantization(await readModelHeader(source), mix);
  await withWorkbench(program, 1, async (bench) => {
    const task = { kind: "quantize", source, target, quantization: mix } as const;
    await bench.run(task, { signal, onProgress: (done, total) => onProgress(done / total) });
  });
  return "quantized here";
}

async function findOnPath(program: string): Promise<string | undefined> {
  for (const folder of (process.env.PATH ?? "").split(delimiter)) {
    const path = join(folder, program);
    if (
      folder !== "" &&
      (await access(path, constants.X_OK).then(
        () => true,
        () => false,
      ))
    )
      return path;
  }
  return undefined;
}

async function runQuantizer(tool: string, parameters: readonly string[], signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const child = spawn(tool, parameters, { stdio: ["ignore", "ignore", "pipe"], signal, killSignal: "SIGKILL" });
    let said = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      said = (said + text).slice(-1000);
    });
    child.once("error", (error) => reject(signal.aborted ? signal.reason : error));
    child.once("exit", (code) => {
      if (code === 0) resolve();
      else
        reject(new AppError("invalid_request", `llama-quantize ended with ${code}: ${said.trim().split("\n").at(-1)}`));
    });
  });
}
