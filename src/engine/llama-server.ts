/** llama.cpp as a server of its own: llama-server, launched with the planner's settings and spoken to over HTTP. */
import type { ChatRequest } from "../core/chat.ts";
import { AppError } from "../core/errors.ts";
import { charsPerTokenMax, contextLengthDefault } from "../core/limits.ts";
import { usefulThreads } from "../fit/host-threads.ts";
import { llamaServerArguments } from "../fit/launch-arguments.ts";
import { specFromGguf } from "../fit/model.ts";
import type { ModelSpec } from "../fit/types.ts";
import { writeAnswerGrammar } from "./answer-grammar.ts";
import { checkModelFile, readModelHeader } from "./check-model.ts";
import { readUsableCores } from "./cpu-quota.ts";
import type { AnswerEnd, LoadedModel, LoadSettings, MeasuredMemory, MemorySample } from "./ipc.ts";
import { requireTokensBelow } from "./known-tokens.ts";
import { answerOver } from "./llama-server-answer.ts";
import { listServerDevices, matchServerDevices } from "./llama-server-devices.ts";
import { ServerLog } from "./llama-server-log.ts";
import { sampleServerMemory } from "./llama-server-memory.ts";
import { knowsTools, unlessGone, wellFormed } from "./llama-server-post.ts";
import { ServerKilled, type ServerProcess, type ServerStart, startLlamaServer } from "./llama-server-process.ts";
import { ServerPrompts } from "./llama-server-prompt.ts";
import { ServerVectorRuntime } from "./llama-server-vectors.ts";
import { requireWithinLimit } from "./memory-limit.ts";
import type { AnswerHooks, CountedPrompt, LoadHooks, ModelRuntime, RuntimeKind } from "./model-runtime.ts";
import { countChars, promptTooLong } from "./prompt-size.ts";
import { leaveOutOldestLater } from "./truncation.ts";

interface ServerPrompt extends CountedPrompt {
  /** As it is sent: shortened where that was asked for, and without control tokens. */
  request: ChatRequest;
  /** What the answer is held to, in place of its form. */
  grammar?: string;
}

interface CountedRequest extends CountedPrompt {
  /** As the template writes it. */
  prompt: string;
  request: ChatRequest;
}

/** @param path of the binary */
export function llamaServerAt(path: string): RuntimeKind<ServerPrompt> {
  return {
    load: (settings, hooks) => loadOnServer(path, settings, hooks),
    async probe() {
      throw new AppError("invalid_configuration", "llama-server does not look for devices; the llama child does.");
    },
  };
}

/** @throws AppError model_not_found, model_file_invalid, engine_out_of_memory, invalid_configuration */
async function loadOnServer(
  path: string,
  settings: LoadSettings,
  hooks: LoadHooks,
): Promise<ServerChatRuntime | ServerVectorRuntime> {
  const startedAt = performance.now();
  const { path: modelPath, ...checked } = await checkModelFile(settings.modelPath);
  const header = await readModelHeader(settings.modelPath);
  const spec = specFromGguf(header, { name: "model" });
  const threads = usefulThreads(await readUsableCores(), checked.fileBytes, settings.threadsMax);
  const contextLength = settings.contextLength ?? Math.min(checked.contextLengthTrained, contextLengthDefault);
  const log = new ServerLog();
  const devices = await plannedDevices(path, settings);
  const args = ["-m", modelPath, ...serverArguments({ ...settings, contextLength }, spec.layers, devices)];
  args.push("-t", `${threads}`);
  const server = await orDieWithIt({
    path,
    args: [...args, ...taskArguments[checked.task ?? "chat"]],
    log,
    onLine: (line) => hooks.log(/\b(?:error|fail)/i.test(line) ? "warn" : "debug", line),
    onPid: hooks.helper,
  });
  // Whatever ends it later: the supervisor counts it and starts both again.
  void server.exited.then(({ signal }) => process.kill(process.pid, signal ?? "SIGKILL"));
  const memory = measuredOn(log, devices);
  try {
    requireWithinLimit(memory, settings.memoryLimit);
  } catch (thrown) {
    server.kill();
    throw thrown;
  }
  const facts: LoadedModel = {
    ...checked,
    contextLength,
    sequenceCount: settings.sequenceCount,
    backend: log.backend,
    gpuLayers: log.backend === "cpu" ? 0 : (log.gpuLayers ?? 0),
    threads,
    chatTemplate: checked.task === undefined ? "llama-server" : "none",
    loadMs: Math.round(performance.now() - startedAt),
    ...(memory === undefined ? {} : { memory }),
  };
  if (checked.task === undefined) {
    const known = { vocabularySize: spec.vocabularySize, tools: await knowsTools(server) };
    return new ServerChatRuntime(facts, known, server);
  }
  const template = header.metadata["tokenizer.chat_template.rerank"];
  const model = {
    embeddingLength: spec.embeddingLength,
    rerankTemplate: typeof template === "string" ? template : undefined,
  };
  return new ServerVectorRuntime(facts, model, server);
}

/** What the model can be asked for. */
interface ModelAbilities {
  vocabularySize: number;
  /** Its template has a place for them. */
  tools: boolean;
}

class ServerChatRuntime implements ModelRuntime<ServerPrompt> {
  readonly facts: LoadedModel;
  readonly #abilities: ModelAbilities;
  readonly #server: ServerProcess;
  readonly #prompts: ServerPrompts;
  #running = 0;

  constructor(facts: LoadedModel, abilities: ModelAbilities, server: ServerProcess) {
    this.facts = facts;
    this.#abilities = abilities;
    this.#server = server;
    this.#prompts = new ServerPrompts(server);
  }

  async admit(request: ChatRequest): Promise<ServerPrompt> {
    try {
      return await this.#admit(request);
    } catch (thrown) {
      if (thrown instanceof AppError && thrown.code === "engine_unavailable") await unlessGone(this.#server);
      throw thrown;
    }
  }

  async #admit(request: ChatRequest): Promise<ServerPrompt> {
    const { vocabularySize, tools } = this.#abilities;
    requireTokensBelow(vocabularySize, request);
    if (!tools && request.toolChoice !== "none" && (request.tools?.length ?? 0) > 0) throw noPlaceForTools();
    // Also where it is not used: what the other backend cannot keep is refused here too.
    const grammar = writeAnswerGrammar(request, { calls: undefined, afterThought: false });
    const counted = await this.#count(request);
    return grammar === undefined ? counted : formed(counted, grammar);
  }

  async #count(request: ChatRequest): Promise<CountedRequest> {
    const { contextLength } = this.facts;
    if (request.truncation !== "auto") return await this.#countWithin(request, 1);
    const answerTokens = Math.min(request.maxTokens ?? contextLength, Math.floor(contextLength / 4));
    const fitting = await leaveOutOldestLater(request.messages, async (messages) => {
      try {
        return await this.#countWithin({ ...request, messages }, answerTokens);
      } catch (thrown) {
        if (thrown instanceof AppError && thrown.code === "context_length_exceeded") return undefined;
        throw thrown;
      }
    });
    return fitting ?? (await this.#countWithin(request, answerTokens));
  }

  async #countWithin(request: ChatRequest, answerTokens: number): Promise<CountedRequest> {
    const { contextLength } = this.facts;
    const param = request.prompt === undefined ? "messages" : "prompt";
    const chars = countChars(request);
    if (chars > contextLength * charsPerTokenMax)
      throw promptTooLong(Math.ceil(chars / charsPerTokenMax), contextLength, param);
    const messages = await this.#prompts.withoutControls(request.messages);
    const given = request.prompt === undefined ? {} : { prompt: wellFormed(request.prompt) };
    const { prompt, promptTokens } = await this.#prompts.count({ ...request, ...given, messages });
    if (promptTokens > contextLength - answerTokens) throw promptTooLong(promptTokens, contextLength, param);
    const left = contextLength - promptTokens;
    const maxTokens = Math.min(request.maxTokens ?? left, left);
    return { prompt, promptTokens, request: { ...request, ...given, messages, maxTokens } };
  }

  async answer(prompt: ServerPrompt, hooks: AnswerHooks): Promise<AnswerEnd> {
    this.#running++;
    try {
      const answered = await answerOver(this.#server, prompt, hooks, () => this.#running - 1);
      const { end } = answered;
      if (end.type === "error" && end.error.code === "engine_unavailable") await unlessGone(this.#server);
      return answered;
    } finally {
      this.#running--;
    }
  }

  async sampleMemory(): Promise<MemorySample> {
    return await sampleServerMemory(this.#server);
  }

  async dispose(): Promise<void> {
    this.#server.kill();
  }
}

/**
 * Our own grammar in place of the form: the server reads an answer of its own grammar a second time, and one that holds
 * half a character fails there as a whole. Where calls may stand beside the form, or the template begins with a thought,
 * only the server knows where the form begins.
 */
function formed(counted: CountedRequest, grammar: string): ServerPrompt {
  const { prompt, promptTokens, request } = counted;
  if ((request.tools?.length ?? 0) > 0 || /<[^<>]*think[^<>]*>\s*$/i.test(prompt)) return { promptTokens, request };
  const { responseFormat: _, ...free } = request;
  return { promptTokens, request: free, grammar };
}

function noPlaceForTools(): AppError {
  const message =
    "This model's chat template has no place for tools, and llama-server would leave them out; send none, or set SNUG_BACKEND=node-llama-cpp, which describes them itself.";
  return new AppError("invalid_request", message, { param: "tools" });
}

/** The supervisor is to see the signal: it tells a lack of memory from a file that is no model. */
async function orDieWithIt(start: ServerStart): Promise<ServerProcess> {
  try {
    return await startLlamaServer(start);
  } catch (thrown) {
    if (!(thrown instanceof ServerKilled)) throw thrown;
    process.kill(process.pid, thrown.signal);
    return await new Promise<never>(() => {});
  }
}

const taskArguments = { chat: [], embedding: ["--embeddings"], rerank: ["--reranking"] } as const;

/** The server's names of the GPUs that get layers, in the plan's order; undefined where there is nothing to choose. */
async function plannedDevices(path: string, settings: LoadSettings): Promise<string[] | undefined> {
  const { gpu, gpuLayers, gpuLayerSplit = [], gpuNames = [] } = settings;
  const used = gpuNames.map((_, index) => (gpuLayerSplit[index] ?? 0) > 0);
  if (gpu === false || gpuLayers === 0 || gpuNames.length < 2 || !used.includes(true)) return undefined;
  const listed = await listServerDevices(path);
  // One that does not list its devices takes all it sees.
  if (listed === undefined) return undefined;
  const devices = matchServerDevices(listed, gpuNames, used);
  if (devices !== undefined) return devices;
  const wanted = gpuNames.filter((_, index) => used[index]);
  const seen = listed.map(({ id, name }) => `${id} (${name})`).join(", ") || "none";
  throw new AppError(
    "invalid_configuration",
    `llama-server does not see the plan's GPUs (${wanted.join(", ")}), but ${seen}: take one built for them, or set SNUG_BACKEND=node-llama-cpp.`,
  );
}

function measuredOn(log: ServerLog, devices: readonly string[] | undefined): MeasuredMemory | undefined {
  const { memory } = log;
  if (memory === undefined || devices === undefined) return memory;
  return { ...memory, gpus: devices.map((id) => log.bytesOn(id)) };
}

/** @param devices its names of the GPUs to use, in the plan's order; undefined: as it sees fit */
export function serverArguments(
  settings: LoadSettings & { contextLength: number },
  layers: ModelSpec["layers"],
  devices?: readonly string[],
): string[] {
  const { gpu, gpuLayers, batchSize, gpuLayerSplit = [] } = settings;
  const onGpu = gpu !== false && gpuLayers !== 0;
  const planned = llamaServerArguments(
    {
      ...settings,
      // As many prompt tokens between two looks at running answers and at clients that left.
      microBatchSize: batchSize,
      gpuLayers: onGpu ? gpuLayers : 0,
      hostExpertLayers: onGpu ? (settings.hostExpertLayers ?? 0) : 0,
      // Shares are counted over the devices it is given.
      gpuLayerSplit: devices === undefined ? gpuLayerSplit : gpuLayerSplit.filter((share) => share > 0),
    },
    layers,
  );
  return [
    ...planned.flat(),
    ...(onGpu ? deviceArguments(devices) : ["-dev", "none"]),
    ...(settings.checkTensors === true ? ["--check-tensors"] : []),
    // The plan is made: nothing is to be adjusted, and no memory taken that it does not know of.
    ...["--fit", "off", "--cache-ram", "0", "--ctx-checkpoints", "2"],
    ...["--repeat-last-n", "1024", "--no-webui", "--jinja", "--offline"],
    // Buffer sizes are told at this level.
    ...["--verbosity", "4", "--log-colors", "off"],
  ];
}

/** Whole layers on each device; in this mode llama.cpp has no use for a main one. */
function deviceArguments(devices: readonly string[] | undefined): string[] {
  if (devices === undefined) return [];
  return ["-dev", devices.join(","), ...(devices.length > 1 ? ["-sm", "layer"] : [])];
}
