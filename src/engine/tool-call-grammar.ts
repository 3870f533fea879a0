/** The calls a model may write, as a grammar: names are those of the tools, arguments satisfy their schemas. */
import type { Tool } from "../core/chat.ts";
import { anyOf, type GrammarRules, literal } from "./grammar.ts";
import { addSchema } from "./json-schema-grammar.ts";
import type { CallForm } from "./tool-call-reader.ts";

/**
 * @param written the beginning of the first call that stands already
 * @returns the body of a rule; undefined when no call begins so
 * @throws AppError invalid_request for a schema that cannot be kept
 */
export function addCalls(
  rules: GrammarRules,
  form: CallForm,
  tools: readonly Tool[],
  written: string,
): string | undefined {
  const rests = new Map(
    tools.map((tool, index) => {
      const { name } = tool;
      const empty = form.withoutArguments.get(name);
      const callArguments =
        empty === undefined
          ? addSchema(
              rules,
              { type: "object", ...tool.parameters },
              {
                param: `tools[${index}].function.parameters`,
                strict: tool.strict === true,
              },
            )
          : literal(empty);
      return [name, rules.rule(`${callArguments} ${literal(form.tails.get(name) ?? "")}`)];
    }),
  );
  const callsFrom = (heads: ReadonlyMap<string, string>, from: string) =>
    [...heads]
      .filter(([, head]) => head.startsWith(from))
      .map(([name, head]) => `${literal(head.slice(from.length))} ${rests.get(name)}`);
  const first = callsFrom(form.heads, written);
  if (first.length === 0) return undefined;
  const more = form.laterHeads === undefined ? "" : ` ${rules.rule(anyOf(callsFrom(form.laterHeads, "")))}*`;
  return `${rules.rule(anyOf(first))}${more} ${literal(form.end)}`;
}
