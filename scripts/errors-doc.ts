/** Writes docs/errors.md from the error table: npx tsx scripts/errors-doc.ts */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { ERROR_CODES, ERROR_TABLE } from "../src/core/errors.ts";

export const errorsDocPath = fileURLToPath(new URL("../docs/errors.md", import.meta.url));

const retryWords = { no: "no", yes: "yes", after: "after `retry-after`" };

export function renderErrorsDoc(): string {
  const rows = ERROR_CODES.map((code) => {
    const { status, openAiType, retry, chat } = ERROR_TABLE[code];
    return `| \`${code}\` | ${status} | \`${openAiType}\` | ${retryWords[retry]} | ${chat.en} | ${chat.zh} |`;
  });
  return `# Errors

Generated from \`src/core/errors.ts\` by \`scripts/errors-doc.ts\`; a test fails when it is stale.

Routes that OpenAI defines answer with OpenAI's body, \`{"error": {"message", "type", "param", "code"}}\`; our own routes
with RFC 9457 problem details. \`code\` is the same in both. After the first byte of a stream the status is spent: a failure
is one \`data: {"error": …}\` event and the stream closes without \`[DONE]\`.

| code | HTTP | OpenAI \`type\` | retry | in chat | in Chinese |
|---|---|---|---|---|---|
${rows.join("\n")}
`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(errorsDocPath, renderErrorsDoc());
