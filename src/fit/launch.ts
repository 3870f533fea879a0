/**
 * A plan as copy-paste settings for the software that runs it. Only options that exist: each recipe names the page it
 * was checked against (docs/launch-settings.md).
 *
 * GGUF plans give the GGUF runtimes exactly the planned settings. Software that reads other formats gets the nearest
 * format and says so, because its memory differs from the plan's.
 */
import { launchLlamaServer, launchLmStudio, launchOllama, launchSnug } from "./launch-gguf.ts";
import { launchTensorRt, launchTransformers, launchVllm } from "./launch-python.ts";
import type { Framework, Localized } from "./query-types.ts";
import type { FitPlan, Hardware, ModelSpec } from "./types.ts";

/** Where the model's files are, as far as known. */
export interface ModelFiles {
  /** `hf:owner/repo[:file]`, a URL or a path of the GGUF file in question. */
  location?: string;
  /** Hugging Face repository of GGUF files. */
  ggufRepository?: string;
  /** Hugging Face repository of the original weights. */
  repository?: string;
}

export interface LaunchInput {
  plan: FitPlan;
  model: ModelSpec;
  hardware: Hardware;
  files: ModelFiles;
}

export interface LaunchRecipe {
  framework: Framework;
  title: string;
  language: "sh" | "ini" | "dockerfile" | "python";
  text: string;
  /** True when it loads the very format and settings of the plan. */
  exact: boolean;
  notes: Localized[];
  /** Documentation the options were checked against. */
  source: string;
}

type Launcher = (input: LaunchInput) => LaunchRecipe | undefined;

const LAUNCHERS: Record<Exclude<Framework, "mlx">, Launcher> = {
  snug: launchSnug,
  "llama.cpp": launchLlamaServer,
  ollama: launchOllama,
  lmstudio: launchLmStudio,
  transformers: launchTransformers,
  vllm: launchVllm,
  "tensorrt-llm": launchTensorRt,
};

/** Every way to start the plan, the asked-for software first; software that cannot run it is left out. */
export function launchRecipes(input: LaunchInput, first?: Framework): LaunchRecipe[] {
  const recipes = Object.values(LAUNCHERS).flatMap((launch) => launch(input) ?? []);
  return recipes.sort((a, b) => Number(b.framework === first) - Number(a.framework === first));
}
