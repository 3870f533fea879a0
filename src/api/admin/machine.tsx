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
        <GpuDay view={view} gpu={gpu} />
      ))}
    </div>
  );
};

const GpuDay: FC<{ view: View; gpu: GpuHistory }> = ({ view: { t, f }, gpu }) => {
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
      <figcaption class="small muted">{t.machineDay(gpu.name)}</figcaption>
      <div class="gpu-lines">
        {told.map((line) => (
          <Chart line={line} />
        ))}
      </div>
    </figure>
  );
};

const Chart: FC<{ line: Line }> = ({ line: { label, values, top, say } }) => {
  const last = values.findLast((value) => value !== null) ?? 0;
  const points = thin(values);
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

/** The highest of each stretch: a peak is what one looks for. */
function thin(values: Column): (number | null)[] {
  const step = Math.max(1, Math.ceil(values.length / pointsMax));
  return Array.from({ length: Math.ceil(values.length / step) }, (_, place) => {
    const known = values.slice(place * step, (place + 1) * step).flatMap((value) => value ?? []);
    return known.length === 0 ? null : Math.max(...known);
  });
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
