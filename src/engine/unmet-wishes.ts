/** What an administrator asked for and will not get, or not as they may think: said once, at each load. */
import type { LoadSettings } from "./ipc.ts";
import type { LoadWish } from "./load-plan.ts";

/** One sentence for each. */
export function unmetWishes(
  { gpu, gpuLayers = 0, vramLimitBytes, contextLength = 0 }: LoadWish,
  settings: Pick<LoadSettings, "gpu">,
  contextLengthTrained: number,
): string[] {
  const sentences: string[] = [];
  if (settings.gpu === false) {
    if (typeof gpu === "string" && gpu !== "auto") {
      sentences.push(`SNUG_GPU asks for ${gpu}, and no GPU was found for it; the model runs on the CPU.`);
    } else if (gpuLayers > 0) {
      sentences.push("SNUG_GPU_LAYERS asks for layers on a GPU, and there is none to use; the model runs on the CPU.");
    }
    if (vramLimitBytes !== undefined) sentences.push("The VRAM limit changes nothing: the model runs on the CPU.");
  }
  if (contextLength > contextLengthTrained) {
    sentences.push(
      `SNUG_CONTEXT asks for ${contextLength} tokens, and the model was trained for ${contextLengthTrained}; what it says beyond them may make no sense.`,
    );
  }
  return sentences;
}
