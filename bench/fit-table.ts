/** Errors of many comparisons as a table: count, median, 95th percentile, worst, under-estimates. */

export interface Pair {
  term: string;
  group: string;
  measured: number;
  predicted: number;
}

export interface ErrorRow {
  term: string;
  group: string;
  n: number;
  /** Percent, without sign. */
  medianPercent: number;
  p95Percent: number;
  /** Percent, with sign, of the largest error. */
  worstPercent: number;
  /** More than 1 % too little. */
  under: number;
}

/** One row per term and group, and one over all groups of a term. */
export function errorTable(pairs: readonly Pair[]): ErrorRow[] {
  const rows: ErrorRow[] = [];
  const terms = new Set(pairs.map(({ term }) => term));
  for (const term of terms) {
    const ofTerm = pairs.filter((pair) => pair.term === term);
    const groups = [...new Set(ofTerm.map(({ group }) => group))].sort();
    rows.push(summarize(term, "all", ofTerm));
    if (groups.length > 1) {
      for (const group of groups) {
        rows.push(
          summarize(
            term,
            group,
            ofTerm.filter((pair) => pair.group === group),
          ),
        );
      }
    }
  }
  return rows;
}

function summarize(term: string, group: string, pairs: readonly Pair[]): ErrorRow {
  const errors = pairs.map(({ measured, predicted }) => (predicted / measured - 1) * 100);
  const sizes = errors.map(Math.abs).sort((left, right) => left - right);
  const at = (share: number) => sizes[Math.min(sizes.length - 1, Math.floor(share * sizes.length))] ?? 0;
  const worst = errors.reduce((most, error) => (Math.abs(error) > Math.abs(most) ? error : most), 0);
  return {
    term,
    group,
    n: pairs.length,
    medianPercent: round(at(0.5)),
    p95Percent: round(at(0.95)),
    worstPercent: round(worst),
    under: errors.filter((error) => error < -1).length,
  };
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}

export function printTable(title: string, rows: readonly ErrorRow[]): void {
  console.log(`\n${title}`);
  console.log(`${"term".padEnd(22)}${"of".padEnd(18)}    n  median     p95     worst  under 1 %`);
  for (const row of rows) {
    const numbers = [row.medianPercent, row.p95Percent, row.worstPercent].map((value) => `${value.toFixed(2)} %`);
    console.log(
      `${row.term.padEnd(22)}${row.group.padEnd(18)}${String(row.n).padStart(5)} ${numbers[0]!.padStart(7)} ${numbers[1]!.padStart(7)} ${numbers[2]!.padStart(9)} ${String(row.under).padStart(6)}`,
    );
  }
}
