/** Where the package's own files are, seen from `src/entries` and from `dist/entries` alike. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { EngineBackend } from "../engine/ipc.ts";
import type { ChildProgram } from "../engine/supervisor.ts";

const fromRoot = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

export const demoModelPath = fromRoot("models/demo/demo-chat-F16.gguf");

/** Styles and scripts of the admin page. */
export const adminAssetsFolder = fromRoot("assets/admin/static");

/** The same of the page with the API's routes. */
export const docsAssetsFolder = fromRoot("assets/docs/static");

const manifest = JSON.parse(readFileSync(fromRoot("package.json"), "utf8"));

/** What runs models, with its version: habits learned of one build say nothing of the next. */
export const engineBuilds: Partial<Record<EngineBackend, string>> = {
  "node-llama-cpp": `node-llama-cpp ${manifest.dependencies["node-llama-cpp"]}`,
};

export const packageVersion: string = manifest.version;

/** TypeScript sources need a loader in the child too; the built package does not. */
const runsFromSource = import.meta.url.endsWith(".ts");

export const llamaChildProgram: ChildProgram = {
  url: new URL(runsFromSource ? "./llama-child.ts" : "./llama-child.js", import.meta.url),
  execArgv: runsFromSource ? ["--import", "tsx"] : [],
};

/** @param path of a llama-server */
export function llamaServerProgram(path: string): ChildProgram {
  const url = new URL(runsFromSource ? "./llama-server-child.ts" : "./llama-server-child.js", import.meta.url);
  return { ...llamaChildProgram, url, args: [path] };
}
