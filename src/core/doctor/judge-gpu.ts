/** Graphics cards: driver, backend, Resizable BAR, memory and who holds it, power and heat. */
import type { GpuCondition } from "../gpu-condition.ts";
import type { GpuReading } from "../ports.ts";
import { formatBytes, MIB } from "../units.ts";
import type { Judgement, MachineFacts, Sentences } from "./facts.ts";

/** Drivers from here on know CUDA 12, the older of the two versions llama.cpp's binaries are built for. */
const nvidiaDriverMin = 525;
/** What most guides ask for; older ones lack fixes for long contexts. */
const nvidiaDriverAdvised = 535;
/** Holders named in one line. */
const holdersShown = 3;
/** A program with less is no use to close. */
const holderBytesMin = 32 * MIB;
/** Without Resizable BAR a card shows 256 MiB; the window of a card with it is a power of two, or a little less. */
const barShareMin = 0.9;
/** A limit lowered further than this costs speed that one notices. */
const powerShareMin = 0.8;
/** Degrees under the threshold at which a card is about to slow down. */
const heatMargin = 5;

const both = (text: string): Sentences => ({ en: text, zh: text });

export function judgeGpus({ hardware, gpus, program, onBattery }: MachineFacts): Judgement[] {
  const judgements: Judgement[] = [];
  if (hardware.gpus.length === 0 && gpus.length === 0) judgements.push(noGpu);
  const count = Math.max(hardware.gpus.length, gpus.length);
  for (let index = 0; index < count; index++) {
    const condition = gpus[index];
    // Of more cards than models may use, those they may are found by name.
    const reading =
      condition === undefined || hardware.gpus.length >= gpus.length
        ? hardware.gpus[index]
        : hardware.gpus.find(({ name }) => name === condition.name);
    judgements.push(...judgeGpu(reading, condition, hardware.backend, count > 1 ? `${index}: ` : ""));
  }
  judgements.push(judgeBackend(hardware.backend, gpus, program));
  if (onBattery) judgements.push(battery);
  return judgements;
}

const noGpu: Judgement = {
  check: "gpu",
  verdict: "warning",
  text: { en: "no GPU found; models run on the CPU, slowly", zh: "未发现 GPU，模型只能在 CPU 上慢速运行" },
  remedy: {
    en: "If there is one, install its driver (NVIDIA 535 or newer, or Vulkan) and check that nvidia-smi or vulkaninfo sees it.",
    zh: "如果装有显卡，请安装驱动（NVIDIA 535 或更新，或 Vulkan），并确认 nvidia-smi 或 vulkaninfo 能看到它。",
  },
};

const battery: Judgement = {
  check: "power",
  verdict: "warning",
  text: { en: "running on battery", zh: "正在使用电池供电" },
  remedy: {
    en: "Plug the machine in: laptops cut their GPU's power on battery, and models run at a fraction of their speed.",
    zh: "请接上电源：笔记本使用电池时会限制显卡功率，模型速度只剩一小部分。",
  },
};

function judgeGpu(
  reading: GpuReading | undefined,
  condition: GpuCondition | undefined,
  backend: string,
  prefix: string,
): Judgement[] {
  const name = prefix + (reading?.name ?? condition?.name ?? "GPU");
  const driver = condition?.driverVersion ?? reading?.driverVersion;
  const judgements: Judgement[] = [
    {
      check: "gpu",
      verdict: "ok",
      text: {
        en: `${name} (${backend}${driver === undefined ? "" : `, driver ${driver}`})`,
        zh: `${name}（${backend}${driver === undefined ? "" : `，驱动 ${driver}`}）`,
      },
    },
  ];
  if (condition?.vendor === "nvidia" && driver !== undefined) judgements.push(judgeDriver(driver));
  const memory = judgeMemory(reading, condition, prefix);
  if (memory !== undefined) judgements.push(memory);
  if (condition === undefined) return judgements;
  for (const judge of [judgeBar, judgePower, judgeHeat]) {
    const judgement = judge(condition, prefix);
    if (judgement !== undefined) judgements.push(judgement);
  }
  return judgements;
}

function judgeDriver(version: string): Judgement {
  const major = Number.parseInt(version, 10);
  if (major >= nvidiaDriverAdvised) {
    const text = {
      en: `NVIDIA driver ${version}, ${nvidiaDriverMin} or newer needed`,
      zh: `NVIDIA 驱动 ${version}（至少需要 ${nvidiaDriverMin}）`,
    };
    return { check: "driver", verdict: "ok", text };
  }
  const remedy = {
    en: `Install driver ${nvidiaDriverAdvised} or newer.`,
    zh: `请安装 ${nvidiaDriverAdvised} 或更新的驱动。`,
  };
  if (major >= nvidiaDriverMin) {
    const text = { en: `NVIDIA driver ${version} works, but is old`, zh: `NVIDIA 驱动 ${version} 可用，但较旧` };
    return { check: "driver", verdict: "warning", text, remedy };
  }
  const text = {
    en: `NVIDIA driver ${version} is too old for CUDA 12; the card is not used`,
    zh: `NVIDIA 驱动 ${version} 太旧，不支持 CUDA 12，显卡不会被使用`,
  };
  return { check: "driver", verdict: "problem", text, remedy };
}

function judgeMemory(
  reading: GpuReading | undefined,
  condition: GpuCondition | undefined,
  prefix: string,
): Judgement | undefined {
  const total = reading?.vramBytesTotal ?? condition?.vramBytesTotal;
  const free = reading?.vramBytesFree ?? condition?.vramBytesFree;
  if (total === undefined || free === undefined) return undefined;
  const holders = (condition?.holders ?? []).filter(({ bytes = 0 }) => bytes >= holderBytesMin).slice(0, holdersShown);
  const list = holders.map(({ program, bytes = 0 }) => `${program} ${formatBytes(bytes)}`).join(", ");
  const text = {
    en: `${prefix}${formatBytes(free)} of ${formatBytes(total)} VRAM free${list === "" ? "" : `; held by ${list}`}`,
    zh: `${prefix}显存 ${formatBytes(total)}，可用 ${formatBytes(free)}${list === "" ? "" : `；占用者：${list}`}`,
  };
  if (free >= total / 2) return { check: "vram", verdict: "ok", text };
  const remedy = {
    en: `Other programs hold more than half of it: close ${list === "" ? "them (nvidia-smi shows which)" : "what you can do without"}, or plan for what is free.`,
    zh: `其他程序占用了一半以上：请关闭${list === "" ? "它们（用 nvidia-smi 查看）" : "不需要的程序"}，或按剩余显存规划。`,
  };
  return { check: "vram", verdict: "warning", text, remedy };
}

function judgeBar({ barBytes, vramBytesTotal }: GpuCondition, prefix: string): Judgement | undefined {
  if (barBytes === undefined || vramBytesTotal === undefined) return undefined;
  if (barBytes >= barShareMin * vramBytesTotal) {
    return {
      check: "resizable_bar",
      verdict: "ok",
      text: both(`${prefix}Resizable BAR ${formatBytes(barBytes)}`),
    };
  }
  return {
    check: "resizable_bar",
    verdict: "warning",
    text: {
      en: `${prefix}Resizable BAR is off: the processor reaches ${formatBytes(barBytes)} of the card at a time`,
      zh: `${prefix}Resizable BAR 未开启：处理器一次只能访问显卡的 ${formatBytes(barBytes)}`,
    },
    remedy: {
      en: "Switch on Above 4G Decoding and Resizable BAR (Smart Access Memory) in the firmware; models load faster, answers hardly change.",
      zh: "请在 BIOS 中开启 Above 4G Decoding 和 Resizable BAR（Smart Access Memory）；加载更快，回答速度几乎不变。",
    },
  };
}

function judgePower(condition: GpuCondition, prefix: string): Judgement | undefined {
  const { powerWatts, powerLimitWatts: limit, powerLimitUsualWatts: usual, performanceState, throttle } = condition;
  if (throttle?.includes("power_brake")) {
    return {
      check: "power",
      verdict: "problem",
      text: { en: `${prefix}the power supply makes the card slow down`, zh: `${prefix}供电不足，显卡被迫降频` },
      remedy: {
        en: "Check the card's power cables and whether the power supply is strong enough.",
        zh: "请检查显卡供电线，以及电源功率是否足够。",
      },
    };
  }
  if (limit === undefined && powerWatts === undefined && performanceState === undefined) return undefined;
  const drawn = [powerWatts, limit].flatMap((watts) => (watts === undefined ? [] : [Math.round(watts)])).join(" / ");
  const state = performanceState === undefined ? "" : ` ${performanceState}`;
  const text = { en: `${prefix}power ${drawn} W${state}`, zh: `${prefix}功率 ${drawn} W${state}` };
  if (limit === undefined || usual === undefined || limit >= powerShareMin * usual) {
    return { check: "power", verdict: "ok", text };
  }
  return {
    check: "power",
    verdict: "warning",
    text: {
      en: `${text.en}: the limit is lowered from ${Math.round(usual)} W`,
      zh: `${text.zh}：上限已从 ${Math.round(usual)} W 调低`,
    },
    remedy: {
      en: `If that is not on purpose, raise it again: nvidia-smi -pl ${Math.round(usual)}`,
      zh: `如非有意，请恢复：nvidia-smi -pl ${Math.round(usual)}`,
    },
  };
}

function judgeHeat(
  { temperatureCelsius, slowdownCelsius, throttle }: GpuCondition,
  prefix: string,
): Judgement | undefined {
  if (temperatureCelsius === undefined) return undefined;
  const degrees = both(`${prefix}${Math.round(temperatureCelsius)} °C`);
  const hot = slowdownCelsius !== undefined && temperatureCelsius >= slowdownCelsius - heatMargin;
  const slowed = throttle?.includes("thermal") === true;
  if (!hot && !slowed) return { check: "heat", verdict: "ok", text: degrees };
  return {
    check: "heat",
    verdict: "warning",
    text: slowed
      ? { en: `${degrees.en}: the card slows down because of heat`, zh: `${degrees.zh}：显卡因过热而降频` }
      : { en: `${degrees.en}: close to where it slows down`, zh: `${degrees.zh}：接近降频温度` },
    remedy: {
      en: "Clean the fans, give the case air, or lower the power limit a little.",
      zh: "请清理风扇、改善机箱散热，或稍微调低功率上限。",
    },
  };
}

function judgeBackend(backend: string, gpus: readonly GpuCondition[], program: MachineFacts["program"]): Judgement {
  const name = program?.name ?? "node-llama-cpp";
  const why = { en: program === undefined ? "" : ` ${program.reason.en}`, zh: program?.reason.zh ?? "" };
  const text = {
    en: `models run on ${backend} with ${name}.${why.en}`,
    zh: `模型使用 ${backend} 后端，由 ${name} 运行。${why.zh}`,
  };
  const nvidia = gpus.some(({ vendor }) => vendor === "nvidia");
  if (nvidia && backend !== "cuda") {
    return {
      check: "backend",
      verdict: "warning",
      text,
      remedy: {
        en: "There is an NVIDIA card, but CUDA does not start: install the CUDA runtime 12 or 13 (libcudart and libcublas), or set SNUG_GPU if this is on purpose.",
        zh: "有 NVIDIA 显卡，但 CUDA 无法启动：请安装 CUDA 12 或 13 运行库（libcudart 和 libcublas）；如属有意，可用 SNUG_GPU 指定。",
      },
    };
  }
  if (gpus.some(({ vendor }) => vendor === "amd") && backend === "cpu") {
    return {
      check: "backend",
      verdict: "warning",
      text,
      remedy: {
        en: "There is an AMD card, but Vulkan does not see it: install Mesa's or AMD's Vulkan driver and check vulkaninfo.",
        zh: "有 AMD 显卡，但 Vulkan 看不到它：请安装 Mesa 或 AMD 的 Vulkan 驱动，并用 vulkaninfo 检查。",
      },
    };
  }
  return { check: "backend", verdict: "ok", text };
}
