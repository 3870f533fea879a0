/** A bar for long work, on stderr; one line per tenth where there is no terminal to redraw. */
import { formatBytes } from "../core/units.ts";

export interface ProgressOutput {
  isTTY?: boolean | undefined;
  columns?: number | undefined;
  write(text: string): unknown;
}

const barCells = 24;
const redrawMsMin = 100;

/**
 * @param now milliseconds; the rate is measured over the whole transfer
 * @returns a function to call with what is done so far; the last call has bytesDone equal to bytesTotal
 */
export function createProgressBar(label: string, output: ProgressOutput, now: () => number) {
  const startedAt = now();
  let drawnAt = Number.NEGATIVE_INFINITY;
  let bytesAtStart: number | undefined;
  let tenths = -1;

  return (progress: { bytesDone: number; bytesTotal: number | undefined }) => {
    bytesAtStart ??= progress.bytesDone;
    const share = progress.bytesTotal === undefined ? undefined : progress.bytesDone / progress.bytesTotal;
    const complete = share === 1;
    const seconds = (now() - startedAt) / 1000;
    const rate = seconds > 0 ? (progress.bytesDone - bytesAtStart) / seconds : 0;
    if (output.isTTY) {
      if (!complete && now() - drawnAt < redrawMsMin) return;
      drawnAt = now();
      output.write(`\r\x1b[K${line(label, progress, share, rate)}${complete ? "\n" : ""}`);
      return;
    }
    const tenth = share === undefined ? Math.floor(progress.bytesDone / 1e9) : Math.floor(share * 10);
    if (tenth === tenths) return;
    tenths = tenth;
    output.write(`${line(label, progress, share, rate)}\n`);
  };
}

/**
 * The same for work that is counted in steps.
 *
 * @returns a function to call with what is being done and the share that is done, 0 to 1; without a label the bar goes away
 */
export function createStepBar(output: ProgressOutput) {
  let shown = "";
  return (label: string | undefined, share: number) => {
    if (label === undefined) {
      if (output.isTTY && shown !== "") output.write("\r\x1b[K");
      return;
    }
    const full = Math.round(Math.min(1, Math.max(0, share)) * barCells);
    const bar = "█".repeat(full) + "░".repeat(barCells - full);
    const text = output.isTTY ? `${bar} ${Math.floor(share * 100)} %  ${label}` : label;
    if (text === shown) return;
    shown = text;
    output.write(output.isTTY ? `\r\x1b[K${text}` : `${text}\n`);
  };
}

function line(
  label: string,
  progress: { bytesDone: number; bytesTotal: number | undefined },
  share: number | undefined,
  rate: number,
) {
  const speed = rate > 0 ? `  ${formatBytes(rate)}/s` : "";
  if (share === undefined || progress.bytesTotal === undefined)
    return `${label}  ${formatBytes(progress.bytesDone)}${speed}`;
  const full = Math.round(share * barCells);
  const bar = "█".repeat(full) + "░".repeat(barCells - full);
  const left = rate > 0 ? (progress.bytesTotal - progress.bytesDone) / rate : 0;
  const remaining = left >= 1 ? `  ${Math.ceil(left)} s` : "";
  return `${label}  ${bar} ${Math.floor(share * 100)} %  ${formatBytes(progress.bytesDone)} / ${formatBytes(progress.bytesTotal)}${speed}${remaining}`;
}
