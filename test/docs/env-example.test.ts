import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { expect, it } from "vitest";

const root = resolve(import.meta.dirname, "../..");
const names = (text: string) => new Set(text.match(/\b(?:PORT|(?:SNUG|DISCORD|SLACK|HF)_[A-Z0-9_]+)\b/g));

const entries = join(root, "src/entries");
const used = new Set(
  readdirSync(entries)
    .filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts"))
    .flatMap((file) => [...names(readFileSync(join(entries, file), "utf8"))]),
);
const listed = names(readFileSync(join(root, ".env.example"), "utf8"));

it(".env.example lists every setting that the entries read", () => {
  expect([...used].filter((name) => !listed.has(name)).sort()).toEqual([]);
});

it(".env.example lists nothing that no entry reads", () => {
  expect([...listed].filter((name) => !used.has(name)).sort()).toEqual([]);
});
