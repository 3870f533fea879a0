/**
 * How long an answer takes, by kind of question: first (nothing cached) and warm, in milliseconds of CPU time. Each kind
 * runs in a process of its own, so that first means first. Prints a table, writes bench/results/fit-answer.json.
 * Run: npx tsx bench/fit-answer.ts
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { answerQuery } from "../src/fit/answer.ts";
import { renderPicture } from "../src/fit/answer-picture.ts";
import { parseQuery, prepareQueries } from "../src/fit/query.ts";

const QUESTIONS = [
  "13b 6gb",
  "qwen3-8b q4_k_m 8gb ctx 16k",
  "32b 2x16gb",
  "qwen3-30b-a3b 8gb + 32gb ram",
  "10b nf4 8gb",
  "6gb",
  "3060笔记本能跑什么",
  "70b",
  "what is nf4",
];

interface Row {
  question: string;
  firstMs: number;
  warmMs: number;
  pictureMs: number;
}

function cpuMs(task: () => void): number {
  const before = process.cpuUsage();
  task();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

function measure(question: string): Row {
  prepareQueries();
  const firstMs = cpuMs(() => answerQuery(parseQuery(question)));
  let warmMs = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 30; round++)
    warmMs = Math.min(
      warmMs,
      cpuMs(() => answerQuery(parseQuery(question))),
    );
  const answer = answerQuery(parseQuery(question));
  let pictureMs = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 10; round++)
    pictureMs = Math.min(
      pictureMs,
      cpuMs(() => renderPicture(answer, "en")),
    );
  const tenth = (value: number): number => Math.round(value * 10) / 10;
  return { question, firstMs: tenth(firstMs), warmMs: tenth(warmMs), pictureMs: tenth(pictureMs) };
}

const only = process.argv[2];
if (only !== undefined) {
  process.stdout.write(JSON.stringify(measure(only)));
} else {
  const rows = QUESTIONS.map((question): Row => {
    const child = spawnSync(process.execPath, [...process.execArgv, fileURLToPath(import.meta.url), question], {
      encoding: "utf8",
    });
    if (child.status !== 0) throw new Error(child.stderr);
    return JSON.parse(child.stdout) as Row;
  });
  console.table(rows);
  const result = {
    machine: cpus()[0]?.model ?? "unknown",
    node: process.version,
    date: new Date().toISOString().slice(0, 10),
    rows,
  };
  mkdirSync(new URL("./results/", import.meta.url), { recursive: true });
  writeFileSync(new URL("./results/fit-answer.json", import.meta.url), `${JSON.stringify(result, null, 2)}\n`);
}
