/** What a look at a machine found, before anything is judged. What could not be read is left out. */
import type { Locale } from "../errors.ts";
import type { GpuCondition } from "../gpu-condition.ts";
import type { HardwareReading } from "../ports.ts";

/** What an engine can tell of the machine it runs on. */
export interface MachineFacts {
  nodeVersion: string;
  hardware: HardwareReading;
  gpus: readonly GpuCondition[];
  /** Which program runs models, and why. */
  program?: { name: string; reason: Record<Locale, string> };
  swap?: { bytesTotal: number; bytesFree: number };
  /** The power cord is out. */
  onBattery?: boolean;
  disk: { path: string; bytesFree: number };
}

/** What only the process with the settings knows. */
export interface SettingFacts {
  /** undefined when the database library loads. */
  sqliteProblem: string | undefined;
  settingsProblem: string | undefined;
  ports: readonly PortFacts[];
  tokens: readonly TokenFacts[];
  places: readonly PlaceFacts[];
  /** Milliseconds the clock is ahead of others'; left out when nobody could be asked. */
  clockAheadMs?: number;
}

export interface PortFacts {
  setting: string;
  port: number;
  state: "free" | "snug" | "taken" | "forbidden";
}

export interface TokenFacts {
  setting: string;
  /** "incomplete": it needs `missing` beside it. */
  form: "sound" | "spaces" | "quotes" | "malformed" | "incomplete";
  /** What it should look like, or what it lacks. */
  expected: string;
}

export interface PlaceFacts {
  place: "api" | "discord" | "slack";
  /** Without credentials. */
  url: string;
  reached: boolean;
  /** Whether anything here needs it. */
  needed: boolean;
  tookMs?: number;
  reason?: string;
}

export interface DoctorFacts extends MachineFacts, Partial<SettingFacts> {}

export type Verdict = "ok" | "warning" | "problem";

export type Check =
  | "node"
  | "cpu"
  | "gpu"
  | "driver"
  | "backend"
  | "resizable_bar"
  | "vram"
  | "power"
  | "heat"
  | "ram"
  | "swap"
  | "disk"
  | "sqlite"
  | "settings"
  | "port"
  | "clock"
  | "token"
  | PlaceFacts["place"];

export interface Finding {
  check: Check;
  verdict: Verdict;
  /** What was found. */
  text: string;
  /** What to do about it; absent when all is well. */
  remedy?: string;
}

/** The same sentence in every language. */
export type Sentences = Record<Locale, string>;

/** A finding before it is said in one language. */
export interface Judgement {
  check: Check;
  verdict: Verdict;
  text: Sentences;
  remedy?: Sentences;
}
