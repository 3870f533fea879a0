/** Writes docs/glossary.md from the glossary's data: npx tsx scripts/glossary-doc.ts */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { GLOSSARY } from "../src/fit/query-terms.ts";

export const glossaryDocPath = fileURLToPath(new URL("../docs/glossary.md", import.meta.url));

export function renderGlossaryDoc(): string {
  const entries = [...GLOSSARY].sort((a, b) => a.title.en.localeCompare(b.title.en, "en"));
  const rows = entries.map(({ names, title, line }) => {
    const other = names
      .slice(0, 4)
      .map((name) => `\`${name}\``)
      .join(" ");
    return `### ${title.en}\n\n${line.en}\n\n${title.zh}：${line.zh}\n\nAsk with: ${other}\n`;
  });
  return `# Glossary

Generated from \`src/fit/data/glossary.json\` by \`scripts/glossary-doc.ts\`; a test fails when it is stale. In chat:
\`/fits what is nf4\`, \`/fits 什么是 KV 缓存\`, \`/fits gptq vs awq\`.

${rows.join("\n")}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(glossaryDocPath, renderGlossaryDoc());
