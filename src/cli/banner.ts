/** What `snug start` shows once it is ready. */
import type { Locale } from "../core/errors.ts";
import type { HardwareReading, ModelListing } from "../core/ports.ts";
import { formatBytes, formatTokens } from "../core/units.ts";
import { renderFacts, type Terminal } from "./terminal.ts";

export interface BannerFacts {
  version: string;
  hardware: HardwareReading;
  /** What answers: the embedded engine's model, or an engine elsewhere. */
  model: ModelListing | undefined;
  slots: number | undefined;
  engineUrl: string | undefined;
  address: string;
  dataDir: string;
  /** Set on the first start only, when the key was made here. */
  newAdminKey: string | undefined;
  bots: { discord: boolean; slack: boolean };
  startedInMs: number;
}

const texts = {
  en: {
    hardware: "Hardware",
    model: "Model",
    quantization: "Quantization",
    context: "Context",
    address: "Address",
    admin: "Admin page",
    data: "Data",
    bots: "Bots",
    key: "Admin key",
    noGpu: "no GPU found",
    cores: (count: number) => `${count} ${count === 1 ? "core" : "cores"}`,
    ram: (free: string, total: string) => `RAM ${free} free of ${total}`,
    vram: (free: string, total: string) => `${free} free of ${total}`,
    demo: "demo (tiny; knows only quantization, VRAM and /fits)",
    demoHint: "For a real model set SNUG_MODEL to a GGUF file or URL, then start again. What fits: snug fits 8gb",
    elsewhere: (url: string) => `engine at ${url}`,
    perAnswer: (context: string, slots: number) =>
      `${context} tokens, ${slots} ${slots === 1 ? "answer" : "answers"} at once`,
    keyOnce: "shown this once; keep it",
    bot: (name: string, on: boolean, token: string) => (on ? `${name} on` : `${name} off (set ${token})`),
    ready: (seconds: string) => `Ready in ${seconds} s. Ctrl-C stops.`,
    tryIt: "Try",
  },
  zh: {
    hardware: "硬件",
    model: "模型",
    quantization: "量化",
    context: "上下文",
    address: "地址",
    admin: "管理页面",
    data: "数据",
    bots: "机器人",
    key: "管理密钥",
    noGpu: "未发现 GPU",
    cores: (count: number) => `${count} 核`,
    ram: (free: string, total: string) => `内存 ${total}，可用 ${free}`,
    vram: (free: string, total: string) => `显存 ${total}，可用 ${free}`,
    demo: "演示模型（很小，只懂量化、显存和 /fits）",
    demoHint: "要用真正的模型，请把 SNUG_MODEL 设为 GGUF 文件或网址后重新启动。查看能跑什么：snug fits 8gb",
    elsewhere: (url: string) => `引擎在 ${url}`,
    perAnswer: (context: string, slots: number) => `${context} 个 token，同时 ${slots} 个回答`,
    keyOnce: "只显示这一次，请保存",
    bot: (name: string, on: boolean, token: string) => (on ? `${name} 已启用` : `${name} 未启用（设置 ${token}）`),
    ready: (seconds: string) => `${seconds} 秒就绪，按 Ctrl-C 停止。`,
    tryIt: "试试",
  },
} satisfies Record<Locale, unknown>;

export function renderBanner(facts: BannerFacts, { locale, paint }: Pick<Terminal, "locale" | "paint">): string {
  const t = texts[locale];
  const rows: [string, string][] = [[t.hardware, describeHardware(facts.hardware, locale)]];
  if (facts.model === undefined) rows.push([t.model, t.elsewhere(facts.engineUrl ?? "?")]);
  else rows.push(...modelRows(facts.model, facts.slots, locale));
  rows.push(
    [t.address, paint("cyan", facts.address)],
    [t.admin, paint("cyan", `${facts.address}/admin`)],
    [t.data, facts.dataDir],
    [t.bots, describeBots(facts.bots, locale)],
  );
  if (facts.newAdminKey !== undefined) {
    rows.push([t.key, `${paint("yellow", facts.newAdminKey)}  (${t.keyOnce})`]);
  }
  rows.push([t.tryIt, tryLine(facts)]);
  const parts = [paint("bold", `Snug ${facts.version}`), renderFacts(rows, paint)];
  if (facts.model?.demo) parts.push(paint("yellow", `  ${t.demoHint}`));
  parts.push(paint("green", `  ${t.ready((facts.startedInMs / 1000).toFixed(1))}`));
  return parts.join("\n");
}

function modelRows(model: ModelListing, slots: number | undefined, locale: Locale): [string, string][] {
  const t = texts[locale];
  const rows: [string, string][] = [[t.model, model.demo ? `${model.id}: ${t.demo}` : model.id]];
  if (model.quantization) rows.push([t.quantization, model.quantization]);
  if (model.contextLength) rows.push([t.context, t.perAnswer(formatTokens(model.contextLength), slots ?? 1)]);
  return rows;
}

function describeBots({ discord, slack }: BannerFacts["bots"], locale: Locale): string {
  const { bot } = texts[locale];
  return [bot("Discord", discord, "DISCORD_TOKEN"), bot("Slack", slack, "SLACK_BOT_TOKEN")].join(" · ");
}

/** One line a new user can paste, with the key where it was just made. Of engines elsewhere it asks for their models. */
function tryLine(facts: BannerFacts): string {
  const authorization = `-H "Authorization: Bearer ${facts.newAdminKey ?? "$SNUG_ADMIN_KEY"}"`;
  if (facts.model === undefined) return `curl ${facts.address}/v1/models ${authorization}`;
  const body = `{"model":"${facts.model.id}","messages":[{"role":"user","content":"What is Q4_K_M?"}]}`;
  return `curl ${facts.address}/v1/chat/completions ${authorization} -H "Content-Type: application/json" -d '${body}'`;
}

/** "AMD EPYC, 2 cores · no GPU found · RAM 21 GiB free of 24 GiB". */
export function describeHardware(hardware: HardwareReading, locale: Locale): string {
  const t = texts[locale];
  const gpus = hardware.gpus.map((gpu) => {
    const total = formatBytes(gpu.vramBytesTotal);
    return `${gpu.name} ${gpu.vramBytesFree === undefined ? total : t.vram(formatBytes(gpu.vramBytesFree), total)}`;
  });
  const cpu = `${hardware.cpu.name}, ${t.cores(hardware.cpu.coresUsable)}`;
  const ram = t.ram(formatBytes(hardware.ramBytesFree), formatBytes(hardware.ramBytesTotal));
  return [...(gpus.length > 0 ? gpus : [t.noGpu]), cpu, ram].join("\n");
}
