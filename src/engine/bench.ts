/** Reading and writing speed of one model over depths and sequences, beside the planner's prediction. */
import type { Clock } from "../core/ports.ts";
import type { BenchProfile, BenchRow } from "../fit/bench-profile.ts";
import { specFromGguf } from "../fit/model.ts";
import { estimateSpeed, type SpeedRun } from "../fit/speed.ts";
import { countRun } from "../fit/speed-measured.ts";
import type { FitPlan, Hardware, ModelSpec } from "../fit/types.ts";
import { readModelHeader } from "./check-model.ts";
import type { LoadedModel } from "./ipc.ts";
import {
  chosenDevices,
  hardwareOf,
  type LoadWish,
  type MachineReading,
  planLoad,
  predictedMemory,
} from "./load-plan.ts";
import type { ChildProgram } from "./supervisor.ts";
import type { MeasuredSpeed } from "./task.ts";
import { type Workbench, withWorkbench } from "./workbench.ts";

export interface BenchRequest {
  /** What the model is called, and its file. */
  name: string;
  path: string;
  quantization?: string;
  /** Tokens in the cache before writing; those deeper than the model was trained for are left out. */
  contexts: readonly number[];
  /** Sequences at once. */
  sequenceCounts: readonly number[];
  /** Written at each depth by each sequence. */
  decodeTokens: number;
  /** Of each measurement; the median counts. */
  repetitions: number;
}

export interface BenchTools {
  program: ChildProgram;
  /** llama.cpp's build, in words. */
  build: string;
  reading: MachineReading;
  wish: LoadWish;
  clock: Clock;
}

export interface BenchOptions {
  signal: AbortSignal;
  onProgress?(share: number): void;
}

/** @throws AppError when the model does not fit or dies; the signal's reason when it aborts */
export async function benchModel(
  request: BenchRequest,
  tools: BenchTools,
  options: BenchOptions,
): Promise<BenchProfile> {
  const { reading, wish, program, build, clock } = tools;
  const header = await readModelHeader(request.path);
  const spec = specFromGguf(header, { name: request.name });
  const contexts = request.contexts.filter((tokens) => tokens + request.decodeTokens < spec.contextLengthTrained);
  const sequenceCount = Math.max(...request.sequenceCounts);
  const deepest = Math.max(0, ...contexts) + request.decodeTokens + 1;
  const contextLength = Math.min(spec.contextLengthTrained, Math.ceil(deepest / 256) * 256);
  const { plan, settings } = planLoad(spec, reading, { ...wish, contextLength, sequenceCount });
  const machine = chosenDevices(reading, settings.gpu === false ? false : wish.gpu);
  const hardware = hardwareOf(machine, 0, wish);
  const cells = contexts.flatMap((depth) => request.sequenceCounts.map((count) => [depth, count] as const));
  const rows: BenchRow[] = [];
  const runs: SpeedRun[] = [];
  const loaded = await withWorkbench(
    program,
    sequenceCount,
    async (bench) => {
      const model = await bench.load({ ...settings, modelPath: request.path }, options.signal);
      for (const [index, [depthTokens, sequences]] of cells.entries()) {
        const speed = await measureCell(bench, { ...request, depthTokens, sequences }, options.signal, (share) =>
          options.onProgress?.((index + share) / cells.length),
        );
        const { row, run } = rowOf(speed, request.decodeTokens, { spec, plan, hardware });
        rows.push(row);
        if (run !== undefined) runs.push(run);
      }
      return model;
    },
    settings.gpuEnvironment,
  );
  return {
    snugBench: 1,
    date: new Date(clock.now()).toISOString().slice(0, 10),
    machine: {
      gpus: machine.gpus.map(({ name }) => name),
      ...(machine.gpus[0]?.driverVersion === undefined ? {} : { driver: machine.gpus[0].driverVersion }),
      cpu: machine.cpu.name,
      cores: machine.cpu.coresUsable,
      backend: machine.backend,
      ramBytesTotal: machine.ramBytesTotal,
      build,
    },
    model: {
      name: request.name,
      architecture: spec.architecture,
      parameterCount: spec.parameterCount,
      ...(request.quantization === undefined ? {} : { quantization: request.quantization }),
      fileBytes: header.fileBytes,
    },
    load: loadOf(loaded, plan),
    rows,
    runs,
  };
}

function loadOf({ loadMs: ms, threads, memory }: LoadedModel, plan: FitPlan): BenchProfile["load"] {
  const predicted = predictedMemory(plan);
  if (memory === undefined) return { ms, threads, predicted };
  const { model, context } = memory;
  const measured = {
    hostBytes: model.hostBytes + context.hostBytes,
    gpuBytes: model.gpuBytes + context.gpuBytes,
  };
  return { ms, threads, predicted, measured };
}

/** The run whose writing took the median time. */
async function measureCell(
  bench: Workbench,
  cell: Pick<BenchRequest, "decodeTokens" | "repetitions"> & { depthTokens: number; sequences: number },
  signal: AbortSignal,
  onProgress: (share: number) => void,
): Promise<MeasuredSpeed> {
  const { depthTokens, decodeTokens, sequences: sequenceCount, repetitions } = cell;
  const speeds: MeasuredSpeed[] = [];
  for (let repetition = 0; repetition < repetitions; repetition++) {
    const task = { kind: "measure", depthTokens, decodeTokens, sequenceCount } as const;
    const share = (done: number, total: number) =>
      onProgress((repetition + (total > 0 ? done / total : 0)) / repetitions);
    speeds.push(await bench.run(task, { signal, onProgress: share }));
  }
  speeds.sort((left, right) => left.decodeMs - right.decodeMs);
  return speeds[Math.floor(speeds.length / 2)]!;
}

function rowOf(
  speed: MeasuredSpeed,
  decodeTokens: number,
  { spec, plan, hardware }: { spec: ModelSpec; plan: FitPlan; hardware: Hardware },
): { row: BenchRow; run: SpeedRun | undefined } {
  const { depthTokens: contextTokens, sequenceCount } = speed;
  const prefillTokensPerSecond = (speed.prefillTokens / speed.prefillMs) * 1000;
  const decodeTokensPerSecond = (speed.decodeTokens / speed.decodeMs) * 1000;
  const row: BenchRow = { contextTokens, sequenceCount, prefillTokensPerSecond, decodeTokensPerSecond };
  if (sequenceCount > 1) return { row, run: undefined };
  const depthTokens = contextTokens + decodeTokens / 2;
  const expected = estimateSpeed({ model: spec, plan, hardware, promptTokens: contextTokens, depthTokens });
  row.predicted = {
    prefillTokensPerSecond: expected.prefillTokensPerSecond,
    decodeTokensPerSecond: expected.decodeTokensPerSecond,
  };
  const { settings } = plan;
  const run = countRun(
    {
      model: spec,
      settings,
      depthTokens,
      decodeTokensPerSecond,
      prefillTokensPerSecond,
      promptTokens: contextTokens,
      ...(hardware.cpuCores === undefined ? {} : { cpuCores: hardware.cpuCores }),
    },
    hardware.gpus.length,
  );
  return { row, run };
}
