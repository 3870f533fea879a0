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
 * @throws AppError invalid_request for a schema that cannot be kept
 */
export function writeAnswerGrammar(request: ChatRequest, calls: CallRules | undefined): string | undefined {
  const { responseFormat, toolChoice = "auto" } = request;
  const rules = new GrammarRules();
  const called = calls === undefined ? undefined : addCalls(rules, calls.form, calls.tools, "");
  if (called !== undefined && toolChoice !== "auto") return rules.write(called);
  if (responseFormat === undefined) return undefined;
  const json = new JsonRules(rules);
  const object =
    responseFormat.type === "json_object"
      ? json.anyObject()
      : addSchema(rules, responseFormat.schema, {
          param: "response_format.json_schema.schema",
          strict: responseFormat.strict,
        });
  const answer = `${json.space} ${object}`;
  return rules.write(called === undefined ? answer : `${answer} | ${called}`);
}

/** The grammar of calls that have begun so; undefined when no call begins so. */
export function writeCallGrammar({ form, tools }: CallRules, written: string): string | undefined {
  const rules = new GrammarRules();
  const calls = addCalls(rules, form, tools, written);
  return calls === undefined ? undefined : rules.write(calls);
}
