/** The process that holds the model, with llama.cpp as a library. */
import { llamaLibrary } from "../engine/llama.ts";
import { serveModel } from "./model-process.ts";

serveModel(llamaLibrary);
