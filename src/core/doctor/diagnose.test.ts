import { describe, expect, it } from "vitest";
import { renderFindings } from "../../cli/doctor.ts";
import type { GpuCondition } from "../gpu-condition.ts";
import { GIB, MIB } from "../units.ts";
import { diagnose, verdictOf } from "./diagnose.ts";
import type { DoctorFacts } from "./facts.ts";

const card: GpuCondition = {
  name: "RTX 3060",
  vendor: "nvidia",
  driverVersion: "550.54",
  cudaVersion: "12.4",
  vramBytesTotal: 12 * GIB,
  vramBytesFree: 11 * GIB,
  holders: [{ pid: 1, program: "Xorg", bytes: 300 * MIB }],
  barBytes: 16 * GIB,
  utilization: 0.5,
  temperatureCelsius: 55,
  slowdownCelsius: 95,
  powerWatts: 120.4,
  powerLimitWatts: 170,
  powerLimitUsualWatts: 170,
  performanceState: "P2",
  throttle: ["power_cap"],
};
const healthy: DoctorFacts = {
  nodeVersion: "v20.19.0",
  hardware: {
    cpu: { name: "Ryzen 7", coresPhysical: 8, coresUsable: 8 },
    ramBytesTotal: 32 * GIB,
    ramBytesFree: 20 * GIB,
    gpus: [{ name: "RTX 3060", vramBytesTotal: 12 * GIB, vramBytesFree: 11 * GIB, driverVersion: "550.54" }],
    backend: "cuda",
  },
  gpus: [card],
  program: { name: "node-llama-cpp", reason: { en: "None is needed.", zh: "不需要。" } },
  swap: { bytesTotal: 8 * GIB, bytesFree: 8 * GIB },
  onBattery: false,
  disk: { path: "./data", bytesFree: 100 * GIB },
  sqliteProblem: undefined,
  settingsProblem: undefined,
  ports: [{ setting: "PORT", port: 8787, state: "free" }],
  tokens: [{ setting: "DISCORD_TOKEN", form: "sound", expected: "…" }],
  places: [
    { place: "api", url: "http://127.0.0.1:8787/health", reached: true, needed: true, tookMs: 3 },
    { place: "discord", url: "https://discord.com/api/v10/gateway", reached: true, needed: true, tookMs: 80 },
    { place: "slack", url: "https://slack.com/api/api.test", reached: true, needed: false, tookMs: 80 },
  ],
  clockAheadMs: 200,
};
const find = (facts: Partial<DoctorFacts>, check: string) =>
  diagnose({ ...healthy, ...facts }, "en").find((finding) => finding.check === check && finding.verdict !== "ok") ??
  diagnose({ ...healthy, ...facts }, "en").find((finding) => finding.check === check);
const verdict = (facts: Partial<DoctorFacts>, check: string) => find(facts, check)?.verdict;
const withCard = (change: Partial<GpuCondition>): Partial<DoctorFacts> => ({ gpus: [{ ...card, ...change }] });

describe("diagnose", () => {
  it("finds nothing wrong with a healthy machine", () => {
    const findings = diagnose(healthy, "en");
    expect(findings.map((finding) => finding.verdict)).toEqual(findings.map(() => "ok"));
    expect(findings.every((finding) => finding.remedy === undefined)).toBe(true);
    expect(verdictOf(findings)).toBe("ok");
  });

  it.each([
    ["v18.20.0", "problem"],
    ["v20.18.3", "problem"],
    ["v20.19.0", "ok"],
    ["v24.1.0", "ok"],
  ])("judges Node %s as %s", (nodeVersion, expected) => {
    expect(verdict({ nodeVersion }, "node")).toBe(expected);
  });

  it("warns, but does not fail, without a GPU", () => {
    const bare = { hardware: { ...healthy.hardware, gpus: [], backend: "cpu" as const }, gpus: [] };
    expect(verdict(bare, "gpu")).toBe("warning");
    expect(verdictOf(diagnose({ ...healthy, ...bare }, "en"))).toBe("warning");
  });

  it.each([
    ["418.43", "problem"],
    ["525.60", "warning"],
    ["590.44.01", "ok"],
  ])("judges NVIDIA driver %s as %s", (driverVersion, expected) => {
    expect(verdict(withCard({ driverVersion }), "driver")).toBe(expected);
  });

  it("warns when an NVIDIA card is there and CUDA is not used", () => {
    const hardware = { ...healthy.hardware, backend: "vulkan" as const };
    expect(find({ hardware }, "backend")).toMatchObject({
      verdict: "warning",
      remedy: expect.stringMatching(/CUDA runtime/),
    });
  });

  it("says who holds the VRAM, and warns when that is most of it", () => {
    expect(find({}, "vram")?.text).toContain("held by Xorg 300 MiB");
    const gpus = [{ name: "RTX 3060", vramBytesTotal: 12 * GIB, vramBytesFree: 3 * GIB }];
    expect(verdict({ hardware: { ...healthy.hardware, gpus } }, "vram")).toBe("warning");
  });

  it("warns of Resizable BAR that is off, and says nothing where it cannot be read", () => {
    expect(find(withCard({ barBytes: 256 * MIB }), "resizable_bar")).toMatchObject({
      verdict: "warning",
      text: expect.stringContaining("256 MiB"),
    });
    const { barBytes: _, ...unread } = card;
    expect(find({ gpus: [unread] }, "resizable_bar")).toBeUndefined();
  });

  it("tells heat, a lowered power limit, a weak power supply and a battery apart", () => {
    expect(find(withCard({ throttle: ["thermal"] }), "heat")).toMatchObject({ verdict: "warning" });
    expect(find(withCard({ temperatureCelsius: 91 }), "heat")).toMatchObject({ verdict: "warning" });
    expect(find(withCard({ powerLimitWatts: 100 }), "power")?.remedy).toContain("nvidia-smi -pl 170");
    expect(verdict(withCard({ throttle: ["power_brake"] }), "power")).toBe("problem");
    expect(find({ onBattery: true }, "power")?.text).toContain("battery");
  });

  it("calls a machine that swaps short of memory, and one without swap well", () => {
    expect(verdict({ swap: { bytesTotal: 8 * GIB, bytesFree: GIB } }, "swap")).toBe("warning");
    expect(verdict({ swap: { bytesTotal: 0, bytesFree: 0 } }, "swap")).toBe("ok");
  });

  it("takes being offline for a warning with a remedy, never for a problem", () => {
    const places = healthy.places!.map(({ tookMs: _, ...place }) => ({
      ...place,
      reached: false,
      reason: "ENOTFOUND",
    }));
    const { clockAheadMs: _, ...offline } = { ...healthy, places };
    const findings = diagnose(offline, "en");
    expect(verdictOf(findings)).toBe("warning");
    expect(findings.filter((finding) => finding.verdict === "warning").map((finding) => finding.check)).toEqual([
      "api",
      "discord",
      "clock",
    ]);
  });

  it("says nothing of a chat platform that is away and that nothing is set up for", () => {
    const away = { place: "slack", url: "https://slack.com", reached: false, reason: "5 s" } as const;
    const of = (needed: boolean) => diagnose({ ...healthy, places: [{ ...away, needed }] }, "en");
    expect(of(true).map(({ check }) => check)).toContain("slack");
    expect(of(false).map(({ check }) => check)).not.toContain("slack");
  });

  it.each([
    [5_000, "ok"],
    [-60_000, "warning"],
    [400_000, "problem"],
  ])("judges a clock that is %d ms ahead as %s", (clockAheadMs, expected) => {
    expect(verdict({ clockAheadMs }, "clock")).toBe(expected);
  });

  it("calls a port another program has a problem, and one that Snug has none", () => {
    const port = (state: "taken" | "snug" | "forbidden") => ({ ports: [{ setting: "PORT", port: 80, state }] });
    expect(verdict(port("taken"), "port")).toBe("problem");
    expect(verdict(port("forbidden"), "port")).toBe("problem");
    expect(verdict(port("snug"), "port")).toBe("ok");
  });

  it("judges an engine's facts alone, without settings of its own", () => {
    const { nodeVersion, hardware, gpus, disk } = healthy;
    const checks = diagnose({ nodeVersion, hardware, gpus, disk }, "en").map((finding) => finding.check);
    expect(checks).not.toContain("sqlite");
    expect(checks).not.toContain("clock");
  });

  it("gives every warning and problem a remedy, in both languages", () => {
    const ill: DoctorFacts = {
      ...healthy,
      nodeVersion: "v18.0.0",
      hardware: { ...healthy.hardware, ramBytesFree: GIB, backend: "cpu" },
      gpus: [
        { ...card, driverVersion: "470.1", barBytes: MIB, throttle: ["thermal", "power_brake"], vramBytesFree: 0 },
      ],
      onBattery: true,
      swap: { bytesTotal: 8 * GIB, bytesFree: 0 },
      disk: { path: "./data", bytesFree: GIB },
      sqliteProblem: "the database library does not load",
      settingsProblem: "PORT must be a whole number",
      ports: [{ setting: "PORT", port: 8787, state: "taken" }],
      tokens: (["spaces", "quotes", "malformed", "incomplete"] as const).map((form) => ({
        setting: "SLACK_BOT_TOKEN",
        form,
        expected: "xoxb-…",
      })),
      places: [{ place: "discord", url: "https://discord.com", reached: false, needed: true, reason: "5 s" }],
      clockAheadMs: -600_000,
    };
    for (const locale of ["en", "zh"] as const) {
      const bad = diagnose(ill, locale).filter((finding) => finding.verdict !== "ok");
      expect(new Set(bad.map((finding) => finding.check))).toEqual(
        new Set(
          "node driver resizable_bar power heat backend ram swap disk sqlite settings port token discord clock".split(
            " ",
          ),
        ),
      );
      expect(bad.every((finding) => (finding.remedy ?? "").length > 5)).toBe(true);
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
