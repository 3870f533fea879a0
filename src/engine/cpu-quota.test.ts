import { availableParallelism } from "node:os";
import { describe, expect, test } from "vitest";
import { readCgroupQuota, readUsableCores } from "./cpu-quota.ts";

const files = (entries: Record<string, string>) => async (path: string) => entries[path];

describe("the CPU quota", () => {
  test("a container's cpu.max of version 2 is quota over period", async () => {
    const read = files({ "/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/cpu.max": "150000 100000\n" });
    expect(await readCgroupQuota(read)).toBe(1.5);
  });

  test("the smallest quota on the way to the root counts", async () => {
    const read = files({
      "/proc/self/cgroup": "0::/system.slice/snug.service\n",
      "/sys/fs/cgroup/system.slice/snug.service/cpu.max": "max 100000",
      "/sys/fs/cgroup/system.slice/cpu.max": "400000 100000",
      "/sys/fs/cgroup/cpu.max": "800000 100000",
    });
    expect(await readCgroupQuota(read)).toBe(4);
  });

  test("version 1 keeps it in two files, -1 meaning none", async () => {
    const cgroup = "4:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc\n";
    const limited = files({
      "/proc/self/cgroup": cgroup,
      "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000",
      "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
    });
    const free = files({
      "/proc/self/cgroup": cgroup,
      "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
      "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
    });
    expect(await readCgroupQuota(limited)).toBe(3);
    expect(await readCgroupQuota(free)).toBeUndefined();
  });

  test("without cgroups all cores are usable", async () => {
    expect(await readUsableCores(files({}))).toBe(availableParallelism());
  });

  test("a quota under one core still leaves one", async () => {
    const read = files({ "/proc/self/cgroup": "0::/", "/sys/fs/cgroup/cpu.max": "50000 100000" });
    expect(await readUsableCores(read)).toBe(1);
  });

  test("nonsense in the files is no quota", async () => {
    const read = files({ "/proc/self/cgroup": "nonsense\n0::/\n", "/sys/fs/cgroup/cpu.max": "what" });
    expect(await readCgroupQuota(read)).toBeUndefined();
  });
});
