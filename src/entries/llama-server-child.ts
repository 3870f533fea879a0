/** The process between the engine and one llama-server, whose path is its argument; it speaks the llama child's protocol. */
import { llamaServerAt } from "../engine/llama-server.ts";
import { serveModel } from "./model-process.ts";

const [path] = process.argv.slice(2);
if (path === undefined) {
  console.error("This is the engine's process for llama-server; it is started by `snug start` or `snug engine`.");
  process.exit(2);
}
serveModel(llamaServerAt(path));
