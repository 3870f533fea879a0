/** One answer of llama-server, told as the llama child tells it. */
import type { ChatDelta, ChatRequest, TerminalChatEvent } from "../core/chat.ts";
import { abortReportMsMax, modelLoadMsMax } from "../core/limits.ts";
import { asAmount, asObject, type JsonObject } from "../http/chat-wire.ts";
import { createHttpEngine } from "../http/client.ts";
import type { AnswerPiece } from "./answer-parser.ts";
import type { AnswerEnd } from "./ipc.ts";
import type { ServerProcess } from "./llama-server-process.ts";
import type { AnswerHooks } from "./model-runtime.ts";

interface Counted {
  request: ChatRequest;
  promptTokens: number;
  /** What the answer is held to. */
  grammar?: string;
}

/** What the server says beside the text. */
interface Account {
  cachedPromptTokens: number;
  completionTokens: number;
}

const slotPollMs = 5;

/** @param othersRunning answers of ours that the server is writing beside this one */
export async function answerOver(
  server: ServerProcess,
  { request, promptTokens, grammar }: Counted,
  hooks: AnswerHooks,
  othersRunning: () => number,
): Promise<AnswerEnd> {
  const account: Account = { cachedPromptTokens: 0, completionTokens: 0 };
  const engine = createHttpEngine({
    baseUrl: server.baseUrl,
    token: server.key,
    clock: { now: () => performance.now() },
    // Silence is the supervisor's business, who hears of each chunk of the prompt.
    firstByteMsMax: modelLoadMsMax,
    silenceMsMax: modelLoadMsMax,
    extraBody: {
      return_progress: true,
      timings_per_token: true,
      cache_prompt: true,
      ...probabilities(request),
      ...(grammar === undefined ? {} : { grammar }),
    },
    onChunk: (chunk) => readChunk(chunk, account, hooks),
  });
  let started = false;
  let told = 0;
  for await (const event of engine.chat(request, { signal: hooks.signal })) {
    if (event.type === "finish" || event.type === "cancelled" || event.type === "error") {
      if (hooks.signal.aborted) await slotIsFree(server, othersRunning);
      return endOf(event, promptTokens, account);
    }
    if (event.type === "start" || event.type === "queued") continue;
    if (!started) hooks.started(account.cachedPromptTokens);
    started = true;
    const tokens = Math.max(0, account.completionTokens - told);
    told += tokens;
    hooks.token([pieceOf(event, request.logprobs?.top)], tokens);
    await hooks.paused();
  }
  throw new Error("the stream of events ended by itself");
}

function readChunk(chunk: JsonObject, account: Account, hooks: AnswerHooks): void {
  const progress = asObject(chunk.prompt_progress);
  const timings = asObject(chunk.timings);
  account.cachedPromptTokens = asAmount(progress?.cache) ?? asAmount(timings?.cache_n) ?? account.cachedPromptTokens;
  account.completionTokens = asAmount(timings?.predicted_n) ?? account.completionTokens;
  const done = asAmount(progress?.processed);
  if (done !== undefined) hooks.progress(done);
}

function endOf(event: TerminalChatEvent, promptTokens: number, account: Account): AnswerEnd {
  const { prefillTokensPerSecond, completionTokensPerSecond } = event.timings ?? {};
  const reported = event.type === "finish" ? event.usage : {};
  return {
    end:
      event.type === "finish"
        ? { type: "finish", finishReason: event.finishReason }
        : event.type === "cancelled"
          ? { type: "cancelled" }
          : { type: "error", error: event.error },
    usage: {
      promptTokens,
      completionTokens: reported.completionTokens ?? account.completionTokens,
      cachedPromptTokens: reported.cachedPromptTokens ?? account.cachedPromptTokens,
      ...(reported.reasoningTokens === undefined ? {} : { reasoningTokens: reported.reasoningTokens }),
    },
    timings: {
      ...(prefillTokensPerSecond === undefined ? {} : { prefillTokensPerSecond }),
      ...(completionTokensPerSecond === undefined ? {} : { completionTokensPerSecond }),
    },
  };
}

/** Asked for no others, the server would tell nothing of the chosen one either. */
function probabilities({ logprobs, prompt }: ChatRequest): JsonObject {
  if (logprobs === undefined) return {};
  return { [prompt === undefined ? "top_logprobs" : "logprobs"]: Math.max(1, logprobs.top) };
}

/** Calls get their ids where the other backend's do. */
function pieceOf(event: ChatDelta, top = 0): AnswerPiece {
  if (event.type === "reasoning") return { type: "reasoning", text: event.text };
  if (event.type === "text") {
    const logprobs = event.logprobs?.map((token) => ({ ...token, top: token.top.slice(0, top) }));
    return { type: "text", text: event.text, ...(logprobs === undefined ? {} : { logprobs }) };
  }
  const { index, name } = event;
  return { type: "tool_call", index, arguments: event.arguments, ...(name === undefined ? {} : { name }) };
}

/** The server notices between two steps that nobody listens; until then the slot is taken. */
async function slotIsFree(server: ServerProcess, othersRunning: () => number): Promise<void> {
  const until = performance.now() + abortReportMsMax;
  while (performance.now() < until) {
    const busy = await countBusySlots(server);
    if (busy === undefined || busy <= othersRunning()) return;
    await new Promise((resolve) => setTimeout(resolve, slotPollMs));
  }
}

/** Undefined where the server does not tell. */
async function countBusySlots({ baseUrl, key }: ServerProcess): Promise<number | undefined> {
  const headers = { authorization: `Bearer ${key}` };
  const reply = await fetch(`${baseUrl}/slots`, { headers }).catch(() => undefined);
  const slots: unknown = await reply?.json().catch(() => undefined);
  if (!Array.isArray(slots)) return undefined;
  return slots.filter((slot) => asObject(slot)?.is_processing === true).length;
}
