/** A chat template that knows tools, as models made for them have one. */
import type { MetadataEntry } from "./container.ts";

const lines = (opening: string) => [
  "{%- if tools -%}{{- '<|im_start|>system\\nFunctions:' -}}",
  "{%- for tool in tools -%}{{- '\\n' + (tool | tojson) -}}{%- endfor -%}{{- '<|im_end|>\\n' -}}{%- endif -%}",
  "{%- for message in messages -%}",
  "{%- if message.role == 'tool' -%}",
  "{{- '<|im_start|>user\\n<tool_response>\\n' + message.content + '\\n</tool_response><|im_end|>\\n' -}}",
  "{%- else -%}{{- '<|im_start|>' + message.role + '\\n' -}}",
  "{%- if message.content -%}{{- message.content -}}{%- endif -%}",
  "{%- if message.tool_calls -%}{%- for call in message.tool_calls -%}",
  `{{- '<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' -}}`,
  "{{- call.function.arguments | tojson -}}{{- '}\\n</tool_call>' -}}",
  "{%- endfor -%}{%- endif -%}{{- '<|im_end|>\\n' -}}{%- endif -%}{%- endfor -%}",
  `{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n${opening}' -}}{%- endif -%}`,
];

/** @param opening what the template itself writes at the beginning of an answer */
export function createToolTemplate(opening = ""): MetadataEntry {
  return { key: "tokenizer.chat_template", type: "str", value: lines(opening).join("") };
}
