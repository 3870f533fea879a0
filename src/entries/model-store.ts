/** Models on this disk and where they come from. */
import { ModelStore } from "../engine/store.ts";
import { demoModelPath } from "./package-files.ts";
import type { Settings } from "./settings.ts";

/** Our own folder, and other programs' to look into. */
export function createModelStore({ dataDir, places }: Pick<Settings, "dataDir" | "places">): ModelStore {
  return new ModelStore({ dataDir, demoPath: demoModelPath, ...places });
}
