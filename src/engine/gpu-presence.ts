/** Whether this machine can have a GPU at all, from its device files: cheaper than loading a driver to be told no. */
import { readdir } from "node:fs/promises";

/** NVIDIA, NVIDIA Jetson, every other Linux driver, AMD compute, WSL. */
const linuxDevices = /^(nvidia(\d+|ctl)|nvhost-|nvmap|nvgpu|dri$|kfd$|dxg$)/;

/**
 * False only when it is certain. A machine without a GPU often has a Vulkan loader with a software driver, which would
 * be loaded, found empty and unloaded again: a second of every start.
 */
export async function mayHaveGpu(
  platform: NodeJS.Platform = process.platform,
  listFolder: (path: string) => Promise<string[]> = readdir,
): Promise<boolean> {
  if (platform !== "linux") return true;
  const devices = await listFolder("/dev").catch(() => undefined);
  return devices === undefined || devices.some((device) => linuxDevices.test(device));
}
