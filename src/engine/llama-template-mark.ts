/**
 * Finding the renderer of a model's template means trying them all, half a second of processor time. A process that takes
 * over from one that died gets to know what that one found.
 */
import { createHash } from "node:crypto";
import {
  type ChatHistoryItem,
  type ChatModelFunctions,
  type ChatWrapper,
  type LlamaModel,
  resolvableChatWrapperTypeNames,
  resolveChatWrapper,
} from "node-llama-cpp";

/** All that templates render in ways of their own. */
const sampleHistory: ChatHistoryItem[] = [
  { type: "system", text: "Be brief." },
  { type: "user", text: "Which?" },
  {
    type: "model",
    response: [
      { type: "segment", segmentType: "thought", text: "Hm.", ended: true },
      { type: "functionCall", name: "look", params: { at: "it" }, result: { found: 1 } },
      "That.",
    ],
  },
  { type: "user", text: "Sure?" },
  { type: "model", response: [""] },
];
const sampleFunctions: ChatModelFunctions = {
  look: { description: "Looks.", params: { type: "object", properties: { at: { type: "string" } } } },
};

/**
 * Name of a renderer, and a hash of what it was chosen by and of how it renders a sample.
 *
 * @returns undefined where the template refuses the sample
 */
export function markOf(model: LlamaModel, wrapper: ChatWrapper): string | undefined {
  try {
    const { metadata } = model.fileInfo;
    const { contextText, stopGenerationTriggers } = wrapper.generateContextState({
      chatHistory: sampleHistory,
      availableFunctions: sampleFunctions,
      documentFunctionParams: true,
    });
    const chosenBy = [metadata.general, metadata.tokenizer.chat_template, model.filename, model.tokens.bosString];
    const rendered = [wrapper.settings, contextText, stopGenerationTriggers];
    const hash = createHash("sha256")
      .update(JSON.stringify([chosenBy, rendered], plainly))
      .digest("hex");
    return JSON.stringify([wrapper.wrapperName, hash]);
  } catch {
    return undefined;
  }
}

/** The renderer with this mark, if it is this model's and needs no settings that only the search would tell. */
export function wrapperOf(model: LlamaModel, mark: string): ChatWrapper | undefined {
  try {
    const [name] = JSON.parse(mark) as string[];
    const type = resolvableChatWrapperTypeNames.find((type) => lettersOf(type) === lettersOf(name ?? ""));
    if (type === undefined || type === "auto" || type === "template") return undefined;
    const wrapper = resolveChatWrapper(model, { type, warningLogs: false, fallbackToOtherWrappersOnJinjaError: false });
    return markOf(model, wrapper) === mark ? wrapper : undefined;
  } catch {
    return undefined;
  }
}

/** "Llama 3.1" is "llama3.1" elsewhere, and "JinjaTemplate" "jinjaTemplate". */
function lettersOf(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, "");
}

/** JSON knows no large integers, which headers have. */
function plainly(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? `${value}` : value;
}
