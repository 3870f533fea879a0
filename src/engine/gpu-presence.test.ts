import { describe, expect, test } from "vitest";
import { mayHaveGpu } from "./gpu-presence.ts";

const linuxWith = (...devices: string[]) => mayHaveGpu("linux", async () => ["null", "shm", "tty", ...devices]);

describe("a GPU may be there", () => {
  test("when Linux has a device file of any driver", async () => {
    for (const device of ["nvidia0", "nvidiactl", "nvhost-gpu", "dri", "kfd", "dxg"]) {
      expect(await linuxWith(device), device).toBe(true);
    }
  });

  test("but not when Linux has none", async () => {
    expect(await linuxWith()).toBe(false);
    expect(await linuxWith("nvram", "nvme0n1", "drift")).toBe(false);
  });

  test("wherever device files cannot tell", async () => {
    expect(await mayHaveGpu("darwin", async () => [])).toBe(true);
    expect(await mayHaveGpu("win32", async () => [])).toBe(true);
    expect(await mayHaveGpu("linux", async () => Promise.reject(new Error("no /dev")))).toBe(true);
  });
});
