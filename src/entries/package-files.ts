/** Where the package's own files are, seen from `src/entries` and from `dist/entries` alike. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { ChildProgram } from "../engine/supervisor.ts";

const fromRoot = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

export const demoModelPath = fromRoot("models/demo/demo-chat-F16.gguf");

export const packageVersion: string = JSON.parse(readFileSync(fromRoot("package.json"), "utf8")).version;

/** TypeScript sources need a loader in the child too; the built package does not. */
const runsFromSource = import.meta.url.endsWith(".ts");

export const llamaChildProgram: ChildProgram = {
  url: new URL(runsFromSource ? "./llama-child.ts" : "./llama-child.js", import.meta.url),
  execArgv: runsFromSource ? ["--import", "tsx"] : [],
};
