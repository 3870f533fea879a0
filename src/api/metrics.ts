/** Counters, gauges and histograms in Prometheus' text form (exposition format 0.0.4). */
import type { UsageAdmission, UsageReceipt } from "../core/ports.ts";

/** Seconds; from a token out of a warm cache to an answer of many pages on a slow machine. */
const secondsBounds = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];
const rateBounds = [1, 2, 5, 10, 20, 30, 50, 75, 100, 150, 200, 500];

/** Distinct values a label may take; a client that invents model names must not fill the memory. */
const labelValuesMax = 200;

export const metricsContentType = "text/plain; version=0.0.4; charset=utf-8";

export interface EngineState {
  name: string;
  state: string;
  slots: number;
  active: number;
  queued: number;
  /** Memory of its machine, where it tells. */
  devices?: { name: string; bytesTotal: number; bytesUsed?: number }[];
}

/** A GPU at the last look; what its driver does not tell is left out. */
export interface GpuState {
  engine: string;
  gpu: number;
  name: string;
  utilization?: number;
  temperatureCelsius?: number;
  powerWatts?: number;
  throttled: boolean;
}

export interface Metrics {
  /** @param route the pattern, not the path: paths hold ids */
  countRequest(method: string, route: string, status: number): void;
  countAnswer(admission: UsageAdmission, receipt: UsageReceipt): void;
  countRefusal(code: string): void;
  render(state: { version: string; engines: EngineState[]; gpus?: readonly GpuState[]; live: number }): string;
}

type Labels = Record<string, string>;

interface Family {
  name: string;
  help: string;
  type: "counter" | "gauge" | "histogram";
  bounds?: readonly number[];
}

interface Series {
  labels: Labels;
  value: number;
  /** Of a histogram: per bound, not yet added up. */
  buckets?: number[];
  count?: number;
}

const families = {
  requests: { name: "snug_http_requests_total", help: "HTTP requests by route and status.", type: "counter" },
  refusals: { name: "snug_quota_refusals_total", help: "Chats refused by a quota.", type: "counter" },
  answers: { name: "snug_chats_total", help: "Chats by how they ended.", type: "counter" },
  tokens: { name: "snug_tokens_total", help: "Tokens by kind; cached ones are also prompt tokens.", type: "counter" },
  queue: { name: "snug_queue_seconds", help: "Acceptance to the start of prefill.", type: "histogram" },
  firstToken: { name: "snug_time_to_first_token_seconds", help: "Acceptance to the first token.", type: "histogram" },
  duration: { name: "snug_chat_duration_seconds", help: "Acceptance to the last token.", type: "histogram" },
  rate: {
    name: "snug_completion_tokens_per_second",
    help: "Completion tokens after the first, per second, of one chat.",
    type: "histogram",
    bounds: rateBounds,
  },
} satisfies Record<string, Family>;

export function createMetrics(): Metrics {
  const series = new Map<Family, Map<string, Series>>();
  const seen = new Map<string, Set<string>>();

  const bounded = (label: string, value: string): string => {
    const values = seen.get(label) ?? new Set();
    seen.set(label, values);
    if (values.has(value)) return value;
    if (values.size >= labelValuesMax) return "other";
    values.add(value);
    return value;
  };

  const find = (family: Family, labels: Labels): Series => {
    const known = series.get(family) ?? new Map<string, Series>();
    series.set(family, known);
    // A family always names its labels in the same order.
    let id = "";
    for (const name in labels) id += `${labels[name]}\n`;
    const found = known.get(id);
    if (found !== undefined) return found;
    const made: Series = { labels, value: 0 };
    known.set(id, made);
    return made;
  };

  const add = (family: Family, labels: Labels, amount = 1) => {
    find(family, labels).value += amount;
  };

  const observe = (family: Family, labels: Labels, value: number | undefined) => {
    if (value === undefined) return;
    const bounds = family.bounds ?? secondsBounds;
    const found = find(family, labels);
    found.buckets ??= bounds.map(() => 0);
    found.count = (found.count ?? 0) + 1;
    found.value += value;
    const place = bounds.findIndex((bound) => value <= bound);
    if (place >= 0) found.buckets[place]!++;
  };

  return {
    countRequest: (method, route, status) => add(families.requests, { method, route, status: String(status) }),
    countRefusal: (code) => add(families.refusals, { code }),
    countAnswer(admission, receipt) {
      const named = receipt.model ?? admission.model;
      // Only names that an engine has answered to take a place; others are whatever a client wrote.
      const model =
        receipt.engineId !== undefined || seen.get("model")?.has(named) ? bounded("model", named) : "unknown";
      const engine = bounded("engine", receipt.engineId ?? "");
      const labels = { model, engine };
      add(families.answers, { ...labels, source: admission.source, status: statusOf(receipt) });
      const { promptTokens, completionTokens, cachedPromptTokens } = receipt.usage;
      const tokens = (type: string, amount: number | undefined) => {
        if (amount !== undefined) add(families.tokens, { ...labels, type }, amount);
      };
      tokens("prompt", promptTokens);
      tokens("completion", completionTokens);
      tokens("cached", cachedPromptTokens);
      const { queueMs, timeToFirstTokenMs, totalMs, completionTokensPerSecond } = receipt.timings;
      observe(families.queue, labels, inSeconds(queueMs));
      observe(families.firstToken, labels, inSeconds(timeToFirstTokenMs));
      observe(families.duration, labels, inSeconds(totalMs));
      observe(families.rate, labels, completionTokensPerSecond);
    },
    render({ version, engines, gpus = [], live }) {
      const lines: string[] = [];
      gauge(lines, "snug_build_info", "Version of this server.", [[{ version }, 1]]);
      gauge(lines, "snug_chats_running", "Chats being answered or waiting.", [[{}, live]]);
      const perEngine = (name: string, help: string, value: (engine: EngineState) => number) =>
        gauge(
          lines,
          name,
          help,
          engines.map((engine) => [{ engine: engine.name }, value(engine)]),
        );
      perEngine("snug_engine_up", "1 when the engine answers.", ({ state }) => (state === "ready" ? 1 : 0));
      perEngine("snug_engine_slots", "Chats it can answer at once.", ({ slots }) => slots);
      perEngine("snug_engine_active", "Chats it is answering.", ({ active }) => active);
      perEngine("snug_engine_queued", "Chats waiting at it.", ({ queued }) => queued);
      const memory = (name: string, help: string, bytes: (device: Device) => number | undefined) =>
        gauge(lines, name, help, engines.flatMap(byDevice(bytes)));
      memory("snug_engine_memory_total_bytes", "Memory of each of its devices.", ({ bytesTotal }) => bytesTotal);
      memory("snug_engine_memory_used_bytes", "Of that, taken by anybody.", ({ bytesUsed }) => bytesUsed);
      const perGpu = (name: string, help: string, read: (gpu: GpuState) => number | undefined) => {
        const samples = gpus.flatMap((one): [Labels, number][] => {
          const value = read(one);
          return value === undefined ? [] : [[{ engine: one.engine, gpu: String(one.gpu), name: one.name }, value]];
        });
        if (samples.length > 0) gauge(lines, name, help, samples);
      };
      perGpu("snug_engine_gpu_utilization_ratio", "Share of time in use, 0 to 1.", (one) => one.utilization);
      perGpu("snug_engine_gpu_temperature_celsius", "Temperature.", (one) => one.temperatureCelsius);
      perGpu("snug_engine_gpu_power_watts", "Power drawn.", (one) => one.powerWatts);
      perGpu("snug_engine_gpu_throttled", "1 while heat or power holds the clock down.", (one) =>
        Number(one.throttled),
      );
      for (const family of Object.values<Family>(families)) renderFamily(lines, family, series.get(family));
      return `${lines.join("\n")}\n`;
    },
  };
}

type Device = NonNullable<EngineState["devices"]>[number];

function byDevice(bytes: (device: Device) => number | undefined) {
  return ({ name: engine, devices = [] }: EngineState): [Labels, number][] =>
    devices.flatMap((device): [Labels, number][] => {
      const value = bytes(device);
      return value === undefined ? [] : [[{ engine, device: device.name }, value]];
    });
}

function statusOf(receipt: UsageReceipt): string {
  if (receipt.errorCode !== undefined) return receipt.errorCode;
  return receipt.aborted ? "aborted" : (receipt.finishReason ?? "unknown");
}

const inSeconds = (ms: number | undefined): number | undefined => (ms === undefined ? undefined : ms / 1000);

function gauge(lines: string[], name: string, help: string, values: [Labels, number][]): void {
  lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} gauge`);
  for (const [labels, value] of values) lines.push(`${name}${renderLabels(labels)} ${value}`);
}

function renderFamily(lines: string[], family: Family, known: Map<string, Series> | undefined): void {
  lines.push(`# HELP ${family.name} ${family.help}`, `# TYPE ${family.name} ${family.type}`);
  for (const one of known?.values() ?? []) {
    if (one.buckets === undefined) {
      lines.push(`${family.name}${renderLabels(one.labels)} ${one.value}`);
      continue;
    }
    let below = 0;
    for (const [place, bound] of (family.bounds ?? secondsBounds).entries()) {
      below += one.buckets[place]!;
      lines.push(`${family.name}_bucket${renderLabels({ ...one.labels, le: String(bound) })} ${below}`);
    }
    lines.push(`${family.name}_bucket${renderLabels({ ...one.labels, le: "+Inf" })} ${one.count}`);
    lines.push(`${family.name}_sum${renderLabels(one.labels)} ${one.value}`);
    lines.push(`${family.name}_count${renderLabels(one.labels)} ${one.count}`);
  }
}

function renderLabels(labels: Labels): string {
  const members = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`);
  return members.length === 0 ? "" : `{${members.join(",")}}`;
}

function escapeLabel(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
