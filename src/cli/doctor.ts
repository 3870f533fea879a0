/** `snug doctor`: findings as lines, each ok, warning or problem with the remedy. */
import type { Finding, Verdict } from "../core/doctor/facts.ts";
import { padCells, type Terminal } from "./terminal.ts";

const marks: Record<Verdict, { mark: string; paint: "green" | "yellow" | "red" }> = {
  ok: { mark: "ok", paint: "green" },
  warning: { mark: "warning", paint: "yellow" },
  problem: { mark: "problem", paint: "red" },
};

export function renderFindings(findings: readonly Finding[], { paint }: Pick<Terminal, "paint">): string {
  return findings
    .map(({ verdict, text, remedy }) => {
      const { mark, paint: colour } = marks[verdict];
      const line = `${paint(colour, padCells(mark, 8))} ${text}`;
      return remedy === undefined ? line : `${line}\n         ${remedy}`;
    })
    .join("\n");
}
