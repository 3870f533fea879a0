/** `snug chat`: one question, the answer streamed to stdout, everything else on stderr. */
import type { ChatEvent, ChatMessage, TerminalChatEvent } from "../core/chat.ts";
import { isTerminal } from "../core/chat.ts";
import { AppError, type Locale, renderChatError } from "../core/errors.ts";
import type { ChatEngine } from "../core/ports.ts";
import { formatDuration } from "../core/units.ts";
import type { Terminal } from "./terminal.ts";

export interface ChatOptions {
  model: string;
  prompt: string;
  system?: string;
  maxTokens?: number;
  temperature?: number;
  seed?: number;
  json: boolean;
}

const texts = {
  en: {
    queued: (position: number) => `Waiting, ${position} ahead …`,
    download: (percent: string) => `Fetching the model${percent} …`,
    load: "Loading the model …",
    cut: "(cut at the token limit)",
    stopped: "(stopped)",
    tokens: (count: number) => `${count} tokens`,
  },
  zh: {
    queued: (position: number) => `排队中，前面还有 ${position} 个…`,
    download: (percent: string) => `正在下载模型${percent}…`,
    load: "正在加载模型…",
    cut: "（到达 token 上限，已截断）",
    stopped: "（已停止）",
    tokens: (count: number) => `${count} 个 token`,
  },
} satisfies Record<Locale, unknown>;

/**
 * @returns process exit code: 0 answered, 1 failed, 130 stopped by the user
 * @throws AppError for an empty prompt
 */
export async function runChat(engine: ChatEngine, options: ChatOptions, terminal: Terminal, signal: AbortSignal) {
  if (options.prompt.trim() === "") {
    throw new AppError("invalid_request", 'There is no question. Write one, e.g. snug chat "What is Q4_K_M?"');
  }
  const messages: ChatMessage[] = [];
  if (options.system !== undefined) messages.push({ role: "system", content: options.system });
  messages.push({ role: "user", content: options.prompt });
  const { maxTokens, temperature, seed } = options;
  const request = {
    model: options.model,
    messages,
    ...(maxTokens === undefined ? {} : { maxTokens }),
    ...(temperature === undefined ? {} : { temperature }),
    ...(seed === undefined ? {} : { seed }),
  };

  let answer = "";
  let end: TerminalChatEvent | undefined;
  for await (const event of engine.chat(request, { signal })) {
    if (event.type === "queued") terminal.note(waitingFor(event, terminal.locale));
    if (event.type === "text") {
      answer += event.text;
      if (!options.json) terminal.write(event.text);
    }
    if (isTerminal(event)) end = event;
  }
  if (options.json) terminal.print(JSON.stringify({ answer, ...end }));
  else reportEnd(end, terminal);
  return end?.type === "finish" ? 0 : end?.type === "cancelled" ? 130 : 1;
}

function reportEnd(end: TerminalChatEvent | undefined, terminal: Terminal): void {
  const t = texts[terminal.locale];
  terminal.print();
  if (end === undefined) return;
  if (end.type === "error") {
    const error = AppError.fromFacts(end.error);
    terminal.note(terminal.locale === "zh" ? `${renderChatError(error, "zh")} ${error.message}` : error.message);
    return;
  }
  if (end.type === "cancelled") {
    terminal.note(t.stopped);
    return;
  }
  const { usage, timings } = end;
  const facts = [
    ...(end.finishReason === "length" ? [t.cut] : []),
    ...(usage.completionTokens === undefined ? [] : [t.tokens(usage.completionTokens)]),
    ...(timings.completionTokensPerSecond === undefined
      ? []
      : [`${timings.completionTokensPerSecond.toFixed(1)} tokens/s`]),
    ...(timings.timeToFirstTokenMs === undefined ? [] : [`TTFT ${formatDuration(timings.timeToFirstTokenMs)}`]),
  ];
  if (facts.length > 0) terminal.note(terminal.paint("dim", facts.join(" · ")));
}

function waitingFor({ position, preparing }: Extract<ChatEvent, { type: "queued" }>, locale: Locale): string {
  const t = texts[locale];
  if (preparing === undefined) return t.queued(position);
  if (preparing.step === "load") return t.load;
  return t.download(preparing.share === undefined ? "" : ` ${Math.floor(preparing.share * 100)} %`);
}
