/** The engine's machine for those who operate it: its doctor, and how its GPUs did over the last day. */
import { diagnose, verdictOf } from "../core/doctor/diagnose.ts";
import type { Finding, MachineFacts, Verdict } from "../core/doctor/facts.ts";
import type { Locale } from "../core/errors.ts";
import type { GpuSample } from "../core/gpu-condition.ts";
import type { MonitoringReport } from "../core/monitoring.ts";
import type { Monitor } from "./monitor.ts";

export interface DoctorReport {
  verdict: Verdict;
  findings: Finding[];
}

export interface MachineDesk {
  doctor(locale: Locale): Promise<DoctorReport>;
  monitoring(): MonitoringReport;
  /** The last look, one sample per GPU. */
  readonly latest: readonly GpuSample[];
}

export interface MachineDeskOptions {
  readFacts(): Promise<MachineFacts>;
  monitor: Monitor;
}

export function createMachineDesk({ readFacts, monitor }: MachineDeskOptions): MachineDesk {
  let reading: Promise<MachineFacts> | undefined;
  return {
    async doctor(locale) {
      // Whoever asks at the same time hears the same: drivers are slow to answer.
      reading ??= readFacts().finally(() => {
        reading = undefined;
      });
      const findings = diagnose(await reading, locale);
      return { verdict: verdictOf(findings), findings };
    },
    monitoring: () => monitor.report(),
    get latest() {
      return monitor.latest;
    },
  };
}
