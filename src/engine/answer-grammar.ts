/** What a request lets the model write, as a grammar. */
import type { ChatRequest, Tool } from "../core/chat.ts";
import { GrammarRules } from "./grammar.ts";
import { JsonRules } from "./json-grammar.ts";
import { addSchema } from "./json-schema-grammar.ts";
import { addCalls } from "./tool-call-grammar.ts";
import type { CallForm } from "./tool-call-reader.ts";

export interface CallRules {
  form: CallForm;
  tools: readonly Tool[];
}

/**
 * The grammar of the whole answer, thoughts aside; undefined when anything goes.
 *
 * @param afterThought the answer begins within a thought
 * @throws AppError invalid_request for a schema that cannot be kept
 */
export function writeAnswerGrammar(
  request: ChatRequest,
  { calls, afterThought }: { calls: CallRules | undefined; afterThought: boolean },
): string | undefined {
  const { responseFormat, toolChoice = "auto" } = request;
  const rules = new GrammarRules();
  const called = calls === undefined ? undefined : addCalls(rules, calls.form, calls.tools, "");
  const json = new JsonRules(rules);
  // Thoughts are followed by line breaks; an answer of its own begins with its first character.
  const before = afterThought ? `${json.space} ` : "";
  if (called !== undefined && toolChoice !== "auto") return rules.write(before + called);
  if (responseFormat === undefined) return undefined;
  const object =
    responseFormat.type === "json_object"
      ? json.anyObject()
      : addSchema(rules, responseFormat.schema, {
          param: "response_format.json_schema.schema",
          strict: responseFormat.strict,
        });
  return rules.write(before + (called === undefined ? object : `(${object} | ${called})`));
}

/** The grammar of calls that have begun so; undefined when no call begins so. */
export function writeCallGrammar({ form, tools }: CallRules, written: string): string | undefined {
  const rules = new GrammarRules();
  const calls = addCalls(rules, form, tools, written);
  return calls === undefined ? undefined : rules.write(calls);
}
