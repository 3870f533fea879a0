/** The GPUs a llama-server can use, by its own list, and which of them are those of a plan. */
import { stat } from "node:fs/promises";
import { MIB } from "../core/units.ts";
import { runCommandQuietly } from "./run-command.ts";

export interface ServerDevice {
  /** As its options name it: "CUDA0", "Vulkan1". */
  id: string;
  /** What the driver calls it. */
  name: string;
  vramBytesTotal: number;
}

/** "  CUDA0: NVIDIA GeForce RTX 3060 (12037 MiB, 11800 MiB free)"; main memory and its helpers are no GPUs. */
const deviceLine = /^\s+(\S+): (.+) \((\d+) MiB, \d+ MiB free\)\s*$/;
const noGpu = /^(?:CPU|BLAS|AMX|ACCEL|RPC)/i;

/** Lines of `llama-server --list-devices`; undefined for a text that is no such list. */
export function parseServerDevices(text: string): ServerDevice[] | undefined {
  if (!/^Available devices:/m.test(text)) return undefined;
  return text.split("\n").flatMap((line) => {
    const [, id, name, mib] = deviceLine.exec(line) ?? [];
    if (id === undefined || name === undefined || noGpu.test(id)) return [];
    return [{ id, name, vramBytesTotal: Number(mib) * MIB }];
  });
}

/** @returns undefined for a program that does not say */
export async function listServerDevices(
  path: string,
  runCommand: typeof runCommandQuietly = runCommandQuietly,
): Promise<ServerDevice[] | undefined> {
  const text = await runCommand(path, ["--list-devices"]);
  return text === undefined ? undefined : parseServerDevices(text);
}

/** The same, asked once for each program and again when its file has changed. Never rejects. */
export function createServerDeviceList(list = listServerDevices): (path: string) => ReturnType<typeof list> {
  const known = new Map<string, ReturnType<typeof list>>();
  return async (path) => {
    const changed = await stat(path).catch(() => undefined);
    const key = `${path} ${changed?.mtimeMs}`;
    const answer = known.get(key) ?? list(path).catch(() => undefined);
    known.set(key, answer);
    return await answer;
  };
}

/**
 * The server's names of the GPUs that get layers, in the plan's order; undefined when it does not have them all.
 *
 * A card that several of its backends can use is listed for each: those of one backend are taken, the first that has all.
 * Of equal cards the order tells which is which, where the server sees all that were planned with.
 *
 * @param names of all GPUs planned with, by the driver
 * @param used which of them get layers; the server may be kept from seeing the others
 */
export function matchServerDevices(
  listed: readonly ServerDevice[],
  names: readonly string[],
  used: readonly boolean[] = names.map(() => true),
): string[] | undefined {
  const backendOf = ({ id }: ServerDevice) => id.replace(/\d+$/, "");
  const backends = [...new Set(listed.map(backendOf))];
  const groups = backends.map((backend) => listed.filter((device) => backendOf(device) === backend));
  const isUsed = (_: string, index: number) => used[index] === true;
  const wanted = names.filter(isUsed);
  for (const group of groups) {
    const matched = matchWithin(group, names)?.filter(isUsed) ?? matchWithin(group, wanted);
    if (matched !== undefined) return matched;
  }
  // Backends may call a card differently; with as many as there are in the plan the order tells.
  const all = groups.find((group) => group.length === names.length && names.length > 1);
  return all?.map(({ id }) => id).filter(isUsed);
}

function matchWithin(group: readonly ServerDevice[], wanted: readonly string[]): string[] | undefined {
  const left = [...group];
  const ids: string[] = [];
  for (const name of wanted) {
    const index = left.findIndex((device) => isSameCard(device.name, name));
    if (index < 0) return undefined;
    ids.push(...left.splice(index, 1).map(({ id }) => id));
  }
  return ids;
}

/** "AMD Radeon RX 7900 XTX" and "AMD Radeon RX 7900 XTX (RADV NAVI31)" are one card. */
function isSameCard(left: string, right: string): boolean {
  const plain = (name: string) =>
    name
      .replace(/\s*\([^()]*\)/g, "")
      .trim()
      .toLowerCase();
  return plain(left) === plain(right);
}
