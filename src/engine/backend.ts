/** Which program runs a model: llama.cpp as a library, or a llama-server that an administrator brought. */
import { access, constants, stat } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { AppError, type Locale } from "../core/errors.ts";
import type { FitPlan } from "../fit/types.ts";
import type { EngineBackend } from "./ipc.ts";

/** What an administrator wants; "auto" lets the plan decide. */
export type BackendWish = "auto" | EngineBackend;

/** What llama-server can do for a plan and node-llama-cpp cannot. */
export type BackendNeed =
  /** Experts in main memory while the rest of their layers is on the GPU. */
  | "host_experts"
  /** So many layers on each of several GPUs. */
  | "gpu_split"
  /** It fits there only: llama-server keeps logits for one token a slot, the library for a whole batch. */
  | "memory";

export interface BackendQuestion {
  wanted: BackendWish;
  /** Path of a llama-server, undefined where there is none. */
  serverPath: string | undefined;
  /** Of the plan at hand; empty where no model is planned yet. */
  needs: readonly BackendNeed[];
}

export interface BackendChoice {
  backend: EngineBackend;
  /** One sentence. */
  reason: Record<Locale, string>;
}

const needWords: Record<BackendNeed, Record<Locale, string>> = {
  host_experts: { en: "the plan keeps experts in main memory", zh: "方案把专家层放在内存中" },
  gpu_split: { en: "the plan gives each GPU its own share of layers", zh: "方案为每块显卡指定层数" },
  memory: { en: "only llama-server has room for the plan", zh: "只有 llama-server 放得下该方案" },
};

/** @throws AppError invalid_configuration when llama-server is wanted and there is none */
export function chooseBackend({ wanted, serverPath, needs }: BackendQuestion): BackendChoice {
  const [need] = needs;
  if (wanted === "llama-server") {
    if (serverPath === undefined) throw noServer();
    return choice("llama-server", "The settings ask for it.", "由设置指定。");
  }
  if (wanted === "node-llama-cpp") return choice("node-llama-cpp", "The settings ask for it.", "由设置指定。");
  if (need !== undefined && serverPath !== undefined) {
    return choice("llama-server", `${capital(needWords[need].en)}.`, `${needWords[need].zh}。`);
  }
  if (need !== undefined) {
    return choice(
      "node-llama-cpp",
      `No llama-server was found, although ${needWords[need].en}; set SNUG_LLAMA_SERVER to use one.`,
      `未找到 llama-server，但${needWords[need].zh}；可用 SNUG_LLAMA_SERVER 指定。`,
    );
  }
  return serverPath === undefined
    ? choice("node-llama-cpp", "No llama-server was found, and none is needed.", "未找到 llama-server，也不需要。")
    : choice(
        "node-llama-cpp",
        "llama-server is there for plans that need it: experts in main memory, several GPUs.",
        "方案需要时（专家层在内存、多块显卡）才用 llama-server。",
      );
}

/** Why a plan for llama-server is more than one for node-llama-cpp. `library`: undefined when that one was refused. */
export function backendNeeds(server: FitPlan | undefined, library: FitPlan | undefined): BackendNeed[] {
  if (server === undefined) return [];
  const { hostExpertLayers, gpuLayers, gpuLayerSplit } = server.settings;
  const needs: BackendNeed[] = [];
  if (hostExpertLayers > 0 && gpuLayers > 0) needs.push("host_experts");
  if (gpuLayers > 0 && gpuLayerSplit.filter((layers) => layers > 0).length > 1) needs.push("gpu_split");
  if (library === undefined) needs.push("memory");
  return needs;
}

/**
 * The llama-server to use: the configured one, else the first on PATH.
 *
 * @throws AppError invalid_configuration when a configured one is not there or may not be run
 */
export async function findLlamaServer(
  configured: string | undefined,
  searchPath = process.env.PATH ?? "",
): Promise<string | undefined> {
  if (configured !== undefined) {
    if (await isProgram(configured)) return configured;
    const message = `SNUG_LLAMA_SERVER names ${configured}, which is no program this user may run; check the path.`;
    throw new AppError("invalid_configuration", message);
  }
  const name = process.platform === "win32" ? "llama-server.exe" : "llama-server";
  for (const folder of searchPath.split(delimiter)) {
    if (folder !== "" && (await isProgram(join(folder, name)))) return join(folder, name);
  }
  return undefined;
}

/** A file this user may run. */
export async function isProgram(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}

function choice(backend: EngineBackend, en: string, zh: string): BackendChoice {
  return { backend, reason: { en, zh } };
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function noServer(): AppError {
  const message =
    "SNUG_BACKEND asks for llama-server, and there is none: put it on PATH, or set SNUG_LLAMA_SERVER to its path.";
  return new AppError("invalid_configuration", message);
}
