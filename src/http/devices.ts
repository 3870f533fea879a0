/** The memory of an engine's machine, as its health tells it. */
import type { DeviceMemory } from "../core/ports.ts";
import { asAmount, asObject, asText, defined } from "./chat-wire.ts";

/** More than any machine has; an engine elsewhere is not to fill our memory. */
const devicesMax = 64;
const nameCharsMax = 100;

/** Undefined where nothing is told; what is not a device is left out. */
export function parseDevices(value: unknown): DeviceMemory[] | undefined {
  if (!Array.isArray(value)) return undefined;
  return value.slice(0, devicesMax).flatMap((entry): DeviceMemory[] => {
    const device = asObject(entry);
    const kind = device?.kind;
    const bytesTotal = asAmount(device?.bytesTotal);
    if (device === undefined || (kind !== "gpu" && kind !== "host") || bytesTotal === undefined || bytesTotal === 0) {
      return [];
    }
    const name = asText(device.name)?.slice(0, nameCharsMax) ?? kind;
    const known = defined({ bytesUsed: asAmount(device.bytesUsed), bytesOwn: asAmount(device.bytesOwn) });
    return [{ name, kind, bytesTotal, ...known }];
  });
}
