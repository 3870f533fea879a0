/** Comparisons whose progress the test tells. */
import type { ComparePort } from "../../src/bots/compare-run.ts";
import type { CompareJob, CompareRequest, ComparisonReport } from "../../src/fit/compare-report.ts";

export const sampleReport: ComparisonReport = {
  version: 1,
  model: { name: "tiny", architecture: "llama", parameterCount: 1e9, demo: false },
  machine: { cpu: "a processor", gpus: [], backend: "cpu", ramBytesTotal: 1 },
  startedAt: 0,
  durationMs: 1,
  measuredMs: 1,
  overheadMs: 0,
  prompts: [],
  contexts: [256],
  maxTokens: 1,
  variants: [
    {
      quantization: "F16",
      speeds: [
        {
          contextTokens: 256,
          prefillTokensPerSecond: 100,
          decodeTokensPerSecond: 42,
          predicted: { prefillTokensPerSecond: 100, decodeTokensPerSecond: 40 },
        },
      ],
      answers: [],
    },
  ],
  disturbed: false,
};

export class ScriptedComparisons implements ComparePort {
  readonly requests: CompareRequest[] = [];
  readonly cancelled: string[] = [];
  /** As the next look finds it. */
  now: CompareJob = { id: "local:cmp-1", state: "running", model: "tiny", startedAt: 0 };

  async start(request: CompareRequest): Promise<CompareJob> {
    this.requests.push(request);
    return this.now;
  }
  async look(): Promise<CompareJob> {
    return this.now;
  }
  async cancel(id: string): Promise<CompareJob> {
    this.cancelled.push(id);
    this.now = { ...this.now, state: "cancelled" };
    return this.now;
  }

  running(share: number): void {
    this.now = { ...this.now, progress: { step: "speed", quantization: "F16", share } };
  }
  done(): void {
    this.now = { ...this.now, state: "done", report: sampleReport };
  }
}
