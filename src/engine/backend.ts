/** Which program runs a model: llama.cpp as a library, or a llama-server that an administrator brought. */
import { access, constants, stat } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { AppError, type Locale } from "../core/errors.ts";
import type { EngineBackend } from "./ipc.ts";
import type { LoadPlan } from "./load-plan.ts";

/** What an administrator wants; "auto" lets the plan decide. */
export type BackendWish = "auto" | EngineBackend;

/** What llama-server can do for a plan and node-llama-cpp cannot. */
export type BackendNeed =
  /** Experts in main memory while the rest of their layers is on the GPU. */
  | "host_experts"
  /** Layers on several GPUs, or on some of them, otherwise than llama.cpp parts them by itself. */
  | "gpu_split"
  /** It fits there only: llama-server keeps logits for one token a slot, the library for a whole batch. */
  | "memory";

export interface BackendQuestion {
  wanted: BackendWish;
  /** Path of a llama-server, undefined where there is none. */
  serverPath: string | undefined;
  /** It was built without the machine's GPUs. */
  serverIsBlind?: boolean;
  /** Free memory differs between the machine's GPUs, so that a plan may part layers its own way. */
  unequalGpus?: boolean;
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
  gpu_split: {
    en: "the plan parts the layers otherwise than by the GPUs' free memory",
    zh: "方案不按各显卡的空闲显存分配层",
  },
  memory: { en: "only llama-server has room for the plan", zh: "只有 llama-server 放得下该方案" },
};

/** @throws AppError invalid_configuration when llama-server is wanted and there is none */
export function chooseBackend(question: BackendQuestion): BackendChoice {
  const { wanted, serverPath, serverIsBlind, unequalGpus, needs } = question;
  const [need] = needs;
  if (wanted === "llama-server") {
    if (serverPath === undefined) throw noServer();
    return choice("llama-server", "The settings ask for it.", "由设置指定。");
  }
  if (wanted === "node-llama-cpp") return choice("node-llama-cpp", "The settings ask for it.", "由设置指定。");
  if (need !== undefined && serverPath !== undefined && serverIsBlind === true) {
    return choice(
      "node-llama-cpp",
      `llama-server would be used because ${needWords[need].en}, but the one at hand sees no GPU: take one built for it (SNUG_LLAMA_SERVER).`,
      `因为${needWords[need].zh}，本应使用 llama-server，但现有的 llama-server 看不到显卡：请换用支持该显卡的版本（SNUG_LLAMA_SERVER）。`,
    );
  }
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
  if (serverPath === undefined && unequalGpus === true) {
    return choice(
      "node-llama-cpp",
      "It parts layers by each GPU's free memory; a llama-server (SNUG_LLAMA_SERVER) would be told each GPU's own layers where that puts more of a model on them.",
      "它按各显卡的空闲显存分配层；如有 llama-server（SNUG_LLAMA_SERVER），可在能放下更多层时为每块显卡指定层数。",
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
export function backendNeeds(
  server: Pick<LoadPlan, "plan" | "hasOwnSplit"> | undefined,
  library: Pick<LoadPlan, "plan"> | undefined,
): BackendNeed[] {
  if (server === undefined) return [];
  const { hostExpertLayers, gpuLayers } = server.plan.settings;
  const needs: BackendNeed[] = [];
  if (hostExpertLayers > 0 && gpuLayers > 0) needs.push("host_experts");
  if (server.hasOwnSplit) needs.push("gpu_split");
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
