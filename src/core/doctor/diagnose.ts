/** From what was found to verdicts with remedies. Pure; the same for the terminal and for an API's administrators. */
import type { Locale } from "../errors.ts";
import type { DoctorFacts, Finding, Verdict } from "./facts.ts";
import { judgeGpus } from "./judge-gpu.ts";
import { judgeCpu, judgeMemory, judgeNode } from "./judge-machine.ts";
import { judgeSettings } from "./judge-settings.ts";

export function diagnose(facts: DoctorFacts, locale: Locale): Finding[] {
  const judgements = [
    judgeNode(facts.nodeVersion),
    judgeCpu(facts),
    ...judgeGpus(facts),
    ...judgeMemory(facts),
    ...judgeSettings(facts),
  ];
  return judgements.map(({ check, verdict, text, remedy }) => ({
    check,
    verdict,
    text: text[locale],
    ...(remedy === undefined ? {} : { remedy: remedy[locale] }),
  }));
}

/** The worst of them. */
export function verdictOf(findings: readonly Finding[]): Verdict {
  if (findings.some(({ verdict }) => verdict === "problem")) return "problem";
  return findings.some(({ verdict }) => verdict === "warning") ? "warning" : "ok";
}
