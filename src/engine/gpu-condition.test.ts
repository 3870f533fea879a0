import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { MIB } from "../core/units.ts";
import { type GpuSources, parseIoreg, parseNvidiaXml, parseRocmJson, readGpuConditions } from "./gpu-condition.ts";

const recorded = (name: string) => readFileSync(new URL(`../../test/fixtures/gpu/${name}`, import.meta.url), "utf8");

function machine(sources: { commands?: Record<string, string>; files?: Record<string, string> }): GpuSources {
  const { commands = {}, files = {} } = sources;
  return {
    runCommand: async (command) => commands[command],
    readText: async (path) => files[path],
    listFolder: async (path) => [
      ...new Set(
        Object.keys(files)
          .filter((file) => file.startsWith(`${path}/`))
          .map((file) => file.slice(path.length + 1).split("/")[0]!),
      ),
    ],
    mayHaveGpu: async () => true,
    platform: "linux",
  };
}

describe("nvidia-smi", () => {
  it("of a desktop card tells memory, its holders, the whole memory behind Resizable BAR, power and state", () => {
    expect(parseNvidiaXml(recorded("nvidia-smi-rtx-3080.xml"))).toEqual([
      {
        name: "NVIDIA GeForce RTX 3080",
        vendor: "nvidia",
        driverVersion: "536.40",
        cudaVersion: "12.2",
        vramBytesTotal: 10240 * MIB,
        vramBytesFree: 8938 * MIB,
        holders: [
          { pid: 835, program: "Xorg", bytes: 550 * MIB },
          { pid: 4044, program: "firefox", bytes: 541 * MIB },
          { pid: 2214, program: "msedge", bytes: 79 * MIB },
          { pid: 1481, program: "gnome-shell", bytes: 18 * MIB },
        ],
        barBytes: 16384 * MIB,
        utilization: 0,
        temperatureCelsius: 31,
        slowdownCelsius: 95,
        powerWatts: 22.78,
        powerLimitWatts: 336,
        powerLimitUsualWatts: 320,
        performanceState: "P8",
        throttle: [],
      },
    ]);
  });

  it("of newer drivers names power and reasons otherwise; an idle card under its cap is not throttled", () => {
    const [card] = parseNvidiaXml(recorded("nvidia-smi-rtx-3090.xml"));
    expect(card).toMatchObject({ powerWatts: 35.15, powerLimitWatts: 350, barBytes: 256 * MIB, holders: [] });
    expect(card).toMatchObject({ throttle: [], performanceState: "P8" });
  });

  it("of older drivers says throttle reasons where newer ones say event reasons", () => {
    const text = recorded("nvidia-smi-gtx-1660-ti.xml");
    const hot = text.replace(/(_hw_thermal_slowdown>)Not Active/, "$1Active");
    expect(hot).not.toBe(text);
    expect(parseNvidiaXml(text)[0]).toMatchObject({ throttle: [], powerWatts: 8.93, powerLimitWatts: 130 });
    expect(parseNvidiaXml(hot)[0]).toMatchObject({ throttle: ["thermal"] });
  });

  it("that prints something else tells nothing", () => {
    for (const text of [
      "",
      "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
      "<gpu id=",
    ]) {
      expect(parseNvidiaXml(text)).toEqual([]);
    }
  });
});

describe("rocm-smi", () => {
  it("tells memory, sensors and the part of the memory the processor reaches", () => {
    expect(parseRocmJson(recorded("rocm-smi-rx-6700-xt.json"))).toEqual([
      {
        name: "Navi 22 [Radeon RX 6700/6700 XT / 6800M]",
        vendor: "amd",
        driverVersion: "6.3.6",
        vramBytesTotal: 12868124672,
        vramBytesFree: 12868124672 - 1572745216,
        barBytes: 256 * MIB,
        utilization: 0,
        temperatureCelsius: 47,
        powerWatts: 6,
        powerLimitWatts: 211,
      },
    ]);
    expect(parseRocmJson(recorded("rocm-smi-vega-10.json"))).toMatchObject([{ powerWatts: 15, powerLimitWatts: 170 }]);
    expect(parseRocmJson("rocm-smi: not found")).toEqual([]);
  });
});

describe("the machine", () => {
  const drm = "/sys/class/drm/card1/device";
  const files = {
    [`${drm}/vendor`]: "0x1002\n",
    [`${drm}/mem_info_vram_total`]: "12868124672\n",
    [`${drm}/mem_info_vram_used`]: "1572745216\n",
    [`${drm}/mem_info_vis_vram_total`]: "12868124672\n",
    [`${drm}/gpu_busy_percent`]: "7\n",
    [`${drm}/hwmon/hwmon3/temp1_input`]: "45000\n",
    [`${drm}/hwmon/hwmon3/power1_average`]: "6000000\n",
    [`${drm}/hwmon/hwmon3/power1_cap`]: "211000000\n",
  };

  it("is read from the amdgpu driver's files without rocm-smi", async () => {
    expect(await readGpuConditions(machine({ files }))).toEqual([
      {
        name: "AMD card1",
        vendor: "amd",
        vramBytesTotal: 12868124672,
        vramBytesFree: 12868124672 - 1572745216,
        barBytes: 12868124672,
        utilization: 0.07,
        temperatureCelsius: 45,
        powerWatts: 6,
        powerLimitWatts: 211,
      },
    ]);
  });

  it("asks rocm-smi where the files are not there, and lists an NVIDIA card beside", async () => {
    const commands = {
      "nvidia-smi": recorded("nvidia-smi-rtx-3090.xml"),
      "rocm-smi": recorded("rocm-smi-rx-6700-xt.json"),
    };
    const names = (await readGpuConditions(machine({ commands }))).map(({ vendor }) => vendor);
    expect(names).toEqual(["nvidia", "amd"]);
    expect(await readGpuConditions(machine({ files: { "/sys/class/drm/card0/device/vendor": "0x10de" } }))).toEqual([]);
  });

  it("on macOS tells how busy the GPU is", () => {
    expect(parseIoreg('"PerformanceStatistics" = {"Tiler Utilization %"=10,"Device Utilization %"=16}')).toEqual([
      { name: "Apple GPU", vendor: "apple", utilization: 0.16 },
    ]);
    expect(parseIoreg("")).toEqual([]);
  });
});
