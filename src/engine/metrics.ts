/** An engine's figures in Prometheus' text form (exposition format 0.0.4). */
import type { GpuSample } from "../core/gpu-condition.ts";
import type { EngineHealth } from "../core/ports.ts";
import { usedBytes } from "./monitor.ts";
import type { ModelStatus } from "./registry-entry.ts";

export const metricsContentType = "text/plain; version=0.0.4; charset=utf-8";

type Labels = Record<string, string>;
type Sample = [labels: Labels, value: number];

/** Counters begin anew with each load of a model, as Prometheus expects of a restarted process. */
export function renderEngineMetrics(
  health: EngineHealth,
  models: readonly ModelStatus[],
  gpus: readonly GpuSample[] = [],
): string {
  const text = new MetricsText();
  text.add("snug_engine_ready", "gauge", "1 when requests are answered.", [[{}, health.state === "ready" ? 1 : 0]]);
  text.add("snug_engine_slots", "gauge", "Answers at once.", [[{}, health.slots]]);
  text.add("snug_engine_requests", "gauge", "Requests in the engine.", [
    [{ state: "active" }, health.active],
    [{ state: "queued" }, health.queued],
  ]);
  text.add(
    "snug_engine_model_loaded",
    "gauge",
    "1 for models in memory.",
    models.map(({ id, state }): Sample => [{ model: id }, state === "ready" ? 1 : 0]),
  );
  addAnswers(text, models);
  addMemory(text, models);
  addGpus(text, gpus);
  return text.toString();
}

function addAnswers(text: MetricsText, models: readonly ModelStatus[]): void {
  const loaded = models.flatMap(({ id, engine }) => (engine === undefined ? [] : [{ id, engine }]));
  text.add(
    "snug_engine_tokens_per_second",
    "gauge",
    "Completion tokens per second over the last five, all answers together.",
    loaded.map(({ id, engine }): Sample => [{ model: id }, engine.tokensPerSecond]),
  );
  text.add(
    "snug_engine_answers_total",
    "counter",
    "Answers by how they ended.",
    loaded.flatMap(({ id, engine: { totals } }): Sample[] => [
      [{ model: id, end: "finished" }, totals.finished],
      [{ model: id, end: "cancelled" }, totals.cancelled],
      [{ model: id, end: "failed" }, totals.failed],
    ]),
  );
  text.add(
    "snug_engine_tokens_total",
    "counter",
    "Tokens of answers that ended; cached ones are among the prompt's.",
    loaded.flatMap(({ id, engine: { totals } }): Sample[] => [
      [{ model: id, kind: "prompt" }, totals.promptTokens],
      [{ model: id, kind: "cached" }, totals.cachedPromptTokens],
      [{ model: id, kind: "completion" }, totals.completionTokens],
    ]),
  );
  text.add(
    "snug_engine_ladder_steps",
    "gauge",
    "Settings given up for want of memory since the model was loaded.",
    loaded.map(({ id, engine }): Sample => [{ model: id }, engine.ladderSteps.length]),
  );
}

function addMemory(text: MetricsText, models: readonly ModelStatus[]): void {
  const samples = models.flatMap(({ id, load }): Sample[] => {
    if (load === undefined) return [];
    const of = (kind: "predicted" | "measured"): Sample[] => {
      const memory = load[kind];
      if (memory === undefined) return [];
      return [
        [{ model: id, kind, device: "host" }, memory.hostBytes],
        [{ model: id, kind, device: "gpu" }, memory.gpuBytes],
      ];
    };
    return [...of("predicted"), ...of("measured")];
  });
  text.add("snug_engine_buffer_bytes", "gauge", "llama.cpp's buffers, forecast and allocated.", samples);
  const resident = models.flatMap(({ id, engine }): Sample[] =>
    engine?.memory === undefined ? [] : [[{ model: id }, engine.memory.rssBytes]],
  );
  text.add("snug_engine_process_resident_bytes", "gauge", "Main memory of the model's process.", resident);
}

/** As the driver told at the last look, once a minute; what it does not tell is left out. */
function addGpus(text: MetricsText, gpus: readonly GpuSample[]): void {
  const add = (name: string, help: string, read: (sample: GpuSample) => number | undefined) => {
    const samples = gpus.flatMap((sample): Sample[] => {
      const value = read(sample);
      return value === undefined ? [] : [[{ gpu: String(sample.gpu), name: sample.name }, value]];
    });
    text.add(name, "gauge", help, samples);
  };
  add("snug_engine_gpu_memory_bytes", "Memory of the GPU.", ({ vramBytesTotal }) => vramBytesTotal);
  add("snug_engine_gpu_memory_used_bytes", "Memory in use, by anybody.", usedBytes);
  add("snug_engine_gpu_utilization_ratio", "Share of time in use, 0 to 1.", ({ utilization }) => utilization);
  add("snug_engine_gpu_temperature_celsius", "Temperature.", ({ temperatureCelsius }) => temperatureCelsius);
  add("snug_engine_gpu_power_watts", "Power drawn.", ({ powerWatts }) => powerWatts);
  add("snug_engine_gpu_throttled", "1 while heat or power holds the clock down.", ({ throttle }) =>
    throttle === undefined ? undefined : Number(throttle.length > 0),
  );
}

class MetricsText {
  readonly #lines: string[] = [];

  /** Nothing is written for a family without samples. */
  add(name: string, type: "gauge" | "counter", help: string, samples: readonly Sample[]): void {
    if (samples.length === 0) return;
    this.#lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
    for (const [labels, value] of samples) this.#lines.push(`${name}${renderLabels(labels)} ${value}`);
  }

  toString(): string {
    return `${this.#lines.join("\n")}\n`;
  }
}

function renderLabels(labels: Labels): string {
  const entries = Object.entries(labels);
  if (entries.length === 0) return "";
  const quoted = (value: string) => value.replace(/[\\"\n]/g, (char) => (char === "\n" ? "\\n" : `\\${char}`));
  return `{${entries.map(([key, value]) => `${key}="${quoted(value)}"`).join(",")}}`;
}
