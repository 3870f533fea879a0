/** One of the programs a bench compares, as a process of its own that answers prompts. */
import { readFileSync } from "node:fs";

export interface ArmSettings {
  modelPath: string;
  contextLength: number;
  sequenceCount: number;
  batchSize: number;
  threads: number;
}

export interface Answer {
  /** Milliseconds by the clock of whoever asked. */
  askedAt: number;
  /** When each token was there. */
  tokenAt: number[];
  endedAt: number;
  /** What the engine says it waited for a slot, milliseconds. */
  queueMs?: number;
}

export interface AskOptions {
  maxTokens: number;
  signal?: AbortSignal;
  userId?: string;
  /** Begins the prompt; the rest differs between any two questions. */
  prefix?: string;
  onToken?(): void;
}

export interface Arm {
  name: string;
  /** @param words about as many tokens, one byte each, with what the template adds */
  ask(words: number, options: AskOptions): Promise<Answer>;
  pid: number;
  stop(): Promise<void>;
}

let asked = 0;

/** Text of about so many tokens in the byte vocabulary of generated models, unlike any other. */
export function promptOf(tokens: number, prefix = ""): string {
  const head = `${prefix}#${asked++} `;
  return (
    head + "abcdefghij klmnopqrs tuvwxyz ".repeat(Math.ceil(tokens / 29)).slice(0, Math.max(0, tokens - head.length))
  );
}

/** Processor seconds of a process and all it started, so far. */
export function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /s, "")
    .split(" ");
  const own = (Number(fields[11]) + Number(fields[12])) / 100;
  return childrenOf(pid).reduce((sum, child) => sum + cpuSeconds(child), own);
}

export function residentBytes(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) * 1024;
}

export function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  return text === "" ? [] : text.split(" ").map(Number);
}
