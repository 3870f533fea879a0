/** `snug doctor`: what this machine offers, each line ok, warning or problem with the remedy. */
import type { Locale } from "../core/errors.ts";
import type { HardwareReading } from "../core/ports.ts";
import { formatBytes, GIB } from "../core/units.ts";
import { padCells, type Terminal } from "./terminal.ts";

export type Verdict = "ok" | "warning" | "problem";

export interface Finding {
  check: "node" | "cpu" | "gpu" | "vram" | "ram" | "disk" | "sqlite" | "settings";
  verdict: Verdict;
  /** What was found. */
  text: string;
  /** What to do about it; absent when all is well. */
  remedy?: string;
}

export interface DoctorFacts {
  nodeVersion: string;
  hardware: HardwareReading;
  disk: { path: string; bytesFree: number };
  /** undefined when the database library loads. */
  sqliteProblem: string | undefined;
  settingsProblem: string | undefined;
}

const nodeVersionMin: readonly [major: number, minor: number] = [20, 19];
const ramBytesLow = 2 * GIB;
const diskBytesLow = 5 * GIB;

type Sentences = Record<Locale, string>;

export function diagnose(facts: DoctorFacts, locale: Locale): Finding[] {
  const say = (sentences: Sentences) => sentences[locale];
  const { hardware } = facts;
  const findings: Finding[] = [
    nodeFinding(facts.nodeVersion, say),
    {
      check: "cpu",
      verdict: "ok",
      text: say({
        en: `${hardware.cpu.name}, ${hardware.cpu.coresUsable} usable of ${hardware.cpu.coresPhysical} cores`,
        zh: `${hardware.cpu.name}，${hardware.cpu.coresPhysical} 核中可用 ${hardware.cpu.coresUsable} 核`,
      }),
    },
    ...gpuFindings(hardware, say),
    amountFinding(
      "ram",
      hardware.ramBytesFree,
      ramBytesLow,
      say({ en: "RAM free", zh: "可用内存" }),
      {
        en: "Close other programs, or choose a smaller model: snug fits cpu 8gb ram",
        zh: "请关闭其他程序，或选更小的模型：snug fits cpu 8gb ram",
      },
      say,
      formatBytes(hardware.ramBytesTotal),
    ),
    amountFinding(
      "disk",
      facts.disk.bytesFree,
      diskBytesLow,
      say({ en: `free below ${facts.disk.path}`, zh: `${facts.disk.path} 所在磁盘可用` }),
      {
        en: "Models take 2 to 50 GiB each; free some space or move SNUG_DATA_DIR to a larger disk.",
        zh: "每个模型占 2 到 50 GiB；请清理空间，或把 SNUG_DATA_DIR 移到更大的磁盘。",
      },
      say,
    ),
  ];
  findings.push(
    facts.sqliteProblem === undefined
      ? { check: "sqlite", verdict: "ok", text: say({ en: "database library loads", zh: "数据库库可用" }) }
      : {
          check: "sqlite",
          verdict: "problem",
          text: facts.sqliteProblem,
          remedy: say({ en: "Run: npm rebuild better-sqlite3", zh: "请运行：npm rebuild better-sqlite3" }),
        },
  );
  if (facts.settingsProblem !== undefined) {
    findings.push({
      check: "settings",
      verdict: "problem",
      text: facts.settingsProblem,
      remedy: say({
        en: "Correct them in .env; .env.example explains each.",
        zh: "请在 .env 中改正，说明见 .env.example。",
      }),
    });
  }
  return findings;
}

function nodeFinding(version: string, say: (sentences: Sentences) => string): Finding {
  const [major = 0, minor = 0] = version.replace(/^v/, "").split(".").map(Number);
  const enough = major > nodeVersionMin[0] || (major === nodeVersionMin[0] && minor >= nodeVersionMin[1]);
  if (enough) return { check: "node", verdict: "ok", text: `Node ${version}` };
  return {
    check: "node",
    verdict: "problem",
    text: `Node ${version}`,
    remedy: say({
      en: `Install Node ${nodeVersionMin.join(".")} or newer.`,
      zh: `请安装 Node ${nodeVersionMin.join(".")} 或更新版本。`,
    }),
  };
}

function gpuFindings(hardware: HardwareReading, say: (sentences: Sentences) => string): Finding[] {
  if (hardware.gpus.length === 0) {
    return [
      {
        check: "gpu",
        verdict: "warning",
        text: say({ en: "no GPU found; models run on the CPU, slowly", zh: "未发现 GPU，模型只能在 CPU 上慢速运行" }),
        remedy: say({
          en: "If there is one, install its driver (NVIDIA 535 or newer, or Vulkan) and check that nvidia-smi or vulkaninfo sees it.",
          zh: "如果装有显卡，请安装驱动（NVIDIA 535 或更新，或 Vulkan），并确认 nvidia-smi 或 vulkaninfo 能看到它。",
        }),
      },
    ];
  }
  return hardware.gpus.flatMap((gpu): Finding[] => {
    const driver =
      gpu.driverVersion === undefined
        ? ""
        : say({ en: `, driver ${gpu.driverVersion}`, zh: `，驱动 ${gpu.driverVersion}` });
    const card: Finding = { check: "gpu", verdict: "ok", text: `${gpu.name} (${hardware.backend}${driver})` };
    if (gpu.vramBytesFree === undefined) return [card];
    const low = gpu.vramBytesFree < gpu.vramBytesTotal / 2;
    const vram: Finding = {
      check: "vram",
      verdict: low ? "warning" : "ok",
      text: say({
        en: `${formatBytes(gpu.vramBytesFree)} of ${formatBytes(gpu.vramBytesTotal)} VRAM free`,
        zh: `显存 ${formatBytes(gpu.vramBytesTotal)}，可用 ${formatBytes(gpu.vramBytesFree)}`,
      }),
    };
    if (low) {
      vram.remedy = say({
        en: "Other programs hold more than half of it; nvidia-smi shows which.",
        zh: "其他程序占用了一半以上，可用 nvidia-smi 查看。",
      });
    }
    return [card, vram];
  });
}

function amountFinding(
  check: "ram" | "disk",
  bytes: number,
  low: number,
  label: string,
  remedy: Sentences,
  say: (sentences: Sentences) => string,
  total?: string,
): Finding {
  const text = `${formatBytes(bytes)}${total === undefined ? "" : ` / ${total}`} ${label}`;
  return bytes < low ? { check, verdict: "warning", text, remedy: say(remedy) } : { check, verdict: "ok", text };
}

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
