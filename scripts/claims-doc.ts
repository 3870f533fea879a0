/** Writes docs/claims.md: what people were promised, and what the planner says. npx tsx scripts/claims-doc.ts */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import data from "../src/fit/data/claims.json" with { type: "json" };
import { EVIDENCE } from "./claims-evidence.ts";

export const claimsDocPath = fileURLToPath(new URL("../docs/claims.md", import.meta.url));

export const CLAIMS: readonly { id: string; claim: string }[] = data.claims;

export function renderClaimsDoc(): string {
  const rows = CLAIMS.map(({ id, claim }) => {
    const evidence = EVIDENCE[id];
    if (evidence === undefined) throw new Error(`No evidence is computed for ${id}.`);
    const { verdict, numbers, reason } = evidence();
    return `| ${id} | ${cell(claim)} | **${verdict}** | ${cell(numbers)} | ${cell(reason)} |`;
  });
  return `# What people were promised

Popular articles make these claims about large models on small cards. The numbers are the planner's, computed by
\`scripts/claims-evidence.ts\` and written by \`scripts/claims-doc.ts\`; a test fails when this page is stale. Cards named by
size alone are taken for a GeForce RTX of that size.

| | claim | verdict | numbers | reason |
|---|---|---|---|---|
${rows.join("\n")}
`;
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(claimsDocPath, renderClaimsDoc());
