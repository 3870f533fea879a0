/** Node, processor, main memory, swap and disk. */
import { formatBytes, GIB } from "../units.ts";
import type { Judgement, MachineFacts, Sentences } from "./facts.ts";

const nodeVersionMin: readonly [major: number, minor: number] = [20, 19];
const ramBytesLow = 2 * GIB;
const diskBytesLow = 5 * GIB;
/** Swapped out beyond this, something that is used is likely among it. */
const swapBytesHigh = 2 * GIB;

export function judgeNode(version: string): Judgement {
  const [major = 0, minor = 0] = version.replace(/^v/, "").split(".").map(Number);
  const enough = major > nodeVersionMin[0] || (major === nodeVersionMin[0] && minor >= nodeVersionMin[1]);
  const text = { en: `Node ${version}`, zh: `Node ${version}` };
  if (enough) return { check: "node", verdict: "ok", text };
  const least = nodeVersionMin.join(".");
  return {
    check: "node",
    verdict: "problem",
    text,
    remedy: { en: `Install Node ${least} or newer.`, zh: `请安装 Node ${least} 或更新版本。` },
  };
}

export function judgeCpu({ hardware: { cpu } }: MachineFacts): Judgement {
  return {
    check: "cpu",
    verdict: "ok",
    text: {
      en: `${cpu.name}, ${cpu.coresUsable} usable of ${cpu.coresPhysical} cores`,
      zh: `${cpu.name}，${cpu.coresPhysical} 核中可用 ${cpu.coresUsable} 核`,
    },
  };
}

export function judgeMemory({ hardware, swap, disk }: MachineFacts): Judgement[] {
  const ram = `${formatBytes(hardware.ramBytesFree)} / ${formatBytes(hardware.ramBytesTotal)}`;
  return [
    judgeAmount(
      "ram",
      hardware.ramBytesFree < ramBytesLow,
      { en: `${ram} RAM free`, zh: `${ram} 可用内存` },
      {
        en: "Close other programs, or choose a smaller model: snug fits cpu 8gb ram",
        zh: "请关闭其他程序，或选更小的模型：snug fits cpu 8gb ram",
      },
    ),
    ...(swap === undefined ? [] : [judgeSwap(swap)]),
    judgeAmount(
      "disk",
      disk.bytesFree < diskBytesLow,
      {
        en: `${formatBytes(disk.bytesFree)} free below ${disk.path}`,
        zh: `${formatBytes(disk.bytesFree)} ${disk.path} 所在磁盘可用`,
      },
      {
        en: "Models take 2 to 50 GiB each; free some space or move SNUG_DATA_DIR to a larger disk.",
        zh: "每个模型占 2 到 50 GiB；请清理空间，或把 SNUG_DATA_DIR 移到更大的磁盘。",
      },
    ),
  ];
}

function judgeSwap({ bytesTotal, bytesFree }: NonNullable<MachineFacts["swap"]>): Judgement {
  const used = bytesTotal - bytesFree;
  if (bytesTotal === 0) return { check: "swap", verdict: "ok", text: { en: "no swap", zh: "没有交换空间" } };
  return judgeAmount(
    "swap",
    used > swapBytesHigh,
    {
      en: `${formatBytes(used)} of ${formatBytes(bytesTotal)} swap in use`,
      zh: `交换空间 ${formatBytes(bytesTotal)}，已用 ${formatBytes(used)}`,
    },
    {
      en: "Main memory is short: layers that were swapped out answer at the speed of the disk. Close programs or load less.",
      zh: "内存不足：被换出的层只有磁盘的速度。请关闭程序，或少加载一些。",
    },
  );
}

function judgeAmount(check: Judgement["check"], low: boolean, text: Sentences, remedy: Sentences): Judgement {
  return low ? { check, verdict: "warning", text, remedy } : { check, verdict: "ok", text };
}
