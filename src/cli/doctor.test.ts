import { describe, expect, it } from "vitest";
import { GIB } from "../core/units.ts";
import { type DoctorFacts, diagnose, renderFindings } from "./doctor.ts";

const healthy: DoctorFacts = {
  nodeVersion: "v20.19.0",
  hardware: {
    cpu: { name: "Ryzen 7", coresPhysical: 8, coresUsable: 8 },
    ramBytesTotal: 32 * GIB,
    ramBytesFree: 20 * GIB,
    gpus: [{ name: "RTX 3060", vramBytesTotal: 12 * GIB, vramBytesFree: 11 * GIB, driverVersion: "550.54" }],
    backend: "cuda",
  },
  disk: { path: "./data", bytesFree: 100 * GIB },
  sqliteProblem: undefined,
  settingsProblem: undefined,
};
const verdictOf = (facts: Partial<DoctorFacts>, check: string) =>
  diagnose({ ...healthy, ...facts }, "en").find((finding) => finding.check === check)?.verdict;

describe("diagnose", () => {
  it("finds nothing wrong with a healthy machine", () => {
    const findings = diagnose(healthy, "en");
    expect(findings.map((finding) => finding.verdict)).toEqual(findings.map(() => "ok"));
    expect(findings.every((finding) => finding.remedy === undefined)).toBe(true);
  });

  it.each([
    ["v18.20.0", "problem"],
    ["v20.18.3", "problem"],
    ["v20.19.0", "ok"],
    ["v24.1.0", "ok"],
  ])("judges Node %s as %s", (nodeVersion, verdict) => {
    expect(verdictOf({ nodeVersion }, "node")).toBe(verdict);
  });

  it("warns, but does not fail, without a GPU", () => {
    expect(verdictOf({ hardware: { ...healthy.hardware, gpus: [], backend: "cpu" } }, "gpu")).toBe("warning");
  });

  it("warns when other programs hold most of the VRAM", () => {
    const gpus = [{ name: "RTX 3060", vramBytesTotal: 12 * GIB, vramBytesFree: 3 * GIB }];
    expect(verdictOf({ hardware: { ...healthy.hardware, gpus } }, "vram")).toBe("warning");
  });

  it("gives every warning and problem a remedy, in both languages", () => {
    const ill: DoctorFacts = {
      ...healthy,
      nodeVersion: "v18.0.0",
      hardware: { ...healthy.hardware, ramBytesFree: GIB, gpus: [], backend: "cpu" },
      disk: { path: "./data", bytesFree: GIB },
      sqliteProblem: "the database library does not load",
      settingsProblem: "PORT must be a whole number",
    };
    for (const locale of ["en", "zh"] as const) {
      const bad = diagnose(ill, locale).filter((finding) => finding.verdict !== "ok");
      expect(bad.map((finding) => finding.check)).toEqual(["node", "gpu", "ram", "disk", "sqlite", "settings"]);
      expect(bad.every((finding) => (finding.remedy ?? "").length > 10)).toBe(true);
    }
  });
});

describe("renderFindings", () => {
  it("puts the remedy under its finding", () => {
    const text = renderFindings(diagnose({ ...healthy, nodeVersion: "v18.0.0" }, "en"), {
      paint: (_style, words) => words,
    });
    expect(text).toMatch(/^problem {2}Node v18\.0\.0\n {9}Install Node 20\.19 or newer\.$/m);
  });
});
