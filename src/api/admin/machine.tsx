/** An engine's GPUs over the last day, small enough to stand under the engine, and what is wrong with them. */
import type { FC } from "hono/jsx";
import type { GpuHistory, MonitoringReport } from "../../core/monitoring.ts";
import type { View } from "./view.ts";

/** Points of a line; a day of minutes has more than a small picture can show. */
const pointsMax = 120;
const width = 240;
const height = 40;

type Column = readonly (number | null)[];

interface Line {
  label: string;
  values: Column;
  /** Top of the picture; left out: the highest value. */
  top?: number;
  say: (value: number) => string;
}

export const MachinePanel: FC<{ view: View; report: MonitoringReport | undefined }> = ({ view, report }) => {
  if (report === undefined || (report.gpus.length === 0 && report.warnings.length === 0)) return null;
  return (
    <div class="machine">
      {report.warnings.map(({ text }) => (
        <p class="warning" role="status">
          ⚠️ {text[view.locale]}
        </p>
      ))}
      {report.gpus.map((gpu) => (
        <GpuDay view={view} gpu={gpu} everyMs={report.everyMs} />
      ))}
    </div>
  );
};

const GpuDay: FC<{ view: View; gpu: GpuHistory; everyMs: number }> = ({ view: { t, f }, gpu, everyMs }) => {
  const spanMs = everyMs + (gpu.at.at(-1) ?? 0) - (gpu.at[0] ?? 0);
  const lines: Line[] = [
    {
      label: t.machineMemory,
      values: gpu.vramBytesUsed,
      ...(gpu.vramBytesTotal === undefined ? {} : { top: gpu.vramBytesTotal }),
      say: f.bytes,
    },
    { label: t.machineUse, values: gpu.utilization, top: 1, say: f.share },
    { label: t.machineHeat, values: gpu.temperatureCelsius, top: 100, say: (value) => `${Math.round(value)} °C` },
    { label: t.machinePower, values: gpu.powerWatts, say: (value) => `${Math.round(value)} W` },
  ];
  const told = lines.filter(({ values }) => values.some((value) => value !== null));
  return (
    <figure class="gpu-day">
      <figcaption class="small muted">{t.machineDay(gpu.name, Math.max(1, Math.round(spanMs / 60_000)))}</figcaption>
      <div class="gpu-lines">
        {told.map((line) => (
          <Chart line={line} at={gpu.at} everyMs={everyMs} />
        ))}
      </div>
    </figure>
  );
};

const Chart: FC<{ line: Line; at: readonly number[]; everyMs: number }> = ({ line, at, everyMs }) => {
  const { label, values, top, say } = line;
  const last = values.findLast((value) => value !== null) ?? 0;
  const points = thin(values, at, everyMs);
  const most = top ?? Math.max(1, ...points.flatMap((value) => value ?? []));
  return (
    <div class="gpu-line">
      <div class="memory-head small">
        <span>{label}</span>
        <span class="figures">{say(last)}</span>
      </div>
      <svg
        viewBox={`0 0 ${width} ${height}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`${label}: ${say(last)}`}
      >
        {runs(points, most).map((run) => (
          <polyline
            points={run}
            fill="none"
            stroke="currentColor"
            stroke-width="1.5"
            vector-effect="non-scaling-stroke"
          />
        ))}
      </svg>
    </div>
  );
};

/**
 * The highest of each stretch of time: a peak is what one looks for. A stretch without a look, because nobody looked or no
 * driver answered, is a gap; it is two looks long or more, so that one that came late leaves none.
 */
function thin(values: Column, at: readonly number[], everyMs: number): (number | null)[] {
  const begin = at[0] ?? 0;
  const spanMs = (at.at(-1) ?? 0) - begin;
  const count = Math.max(1, Math.min(pointsMax, values.length, 1 + Math.floor(spanMs / (2 * Math.max(1, everyMs)))));
  const points = Array.from({ length: count }, (): number | null => null);
  values.forEach((value, index) => {
    const place = spanMs > 0 ? Math.round((((at[index] ?? begin) - begin) / spanMs) * (count - 1)) : 0;
    if (value !== null) points[place] = Math.max(value, points[place] ?? value);
  });
  return points;
}

/** Lines of "x,y", broken where nothing was told. */
function runs(points: readonly (number | null)[], most: number): string[] {
  const lines: string[][] = [[]];
  points.forEach((value, place) => {
    if (value === null) {
      lines.push([]);
      return;
    }
    const x = points.length === 1 ? width : (place / (points.length - 1)) * width;
    const y = height - 1 - Math.min(1, value / most) * (height - 2);
    lines.at(-1)!.push(`${x.toFixed(1)},${y.toFixed(1)}`);
  });
  // A single look is a short line, so that something is seen.
  return lines
    .filter((line) => line.length > 0)
    .map((line) => (line.length === 1 ? `0,${line[0]!.split(",")[1]} ${line[0]}` : line.join(" ")));
}
