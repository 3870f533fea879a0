import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ChatRoom, type RoomState } from "./edge-chat-room.ts";
import type { EdgeBotsEnvironment } from "./edge-environment.ts";

const day = 24 * 3_600_000;
const start = Date.UTC(2026, 10, 20);

/** An object's disk and alarm, without the object. */
class Disk {
  readonly values = new Map<string, unknown>();
  alarmAt: number | undefined;
  readonly storage: RoomState["storage"] = {
    get: async (key) => this.values.get(key),
    put: async (key, value) => void this.values.set(key, value),
    delete: async (key) => this.values.delete(key),
    list: async ({ prefix }) => new Map([...this.values].filter(([key]) => key.startsWith(prefix))),
    setAlarm: async (at) => {
      this.alarmAt = at;
    },
  };
}

const environment = { API: { fetch: () => Promise.reject(new Error("not asked here")) } };
const open = (disk: Disk) => new ChatRoom(disk, environment as unknown as EdgeBotsEnvironment);

beforeEach(() => {
  vi.useFakeTimers({ now: start });
  vi.spyOn(console, "error").mockImplementation(() => {});
  vi.spyOn(console, "warn").mockImplementation(() => {});
});

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

test("what is kept is forgotten a day later, and the object is woken for it alone", async () => {
  const disk = new Disk();
  disk.values.set("keep old", { value: 1, at: start - day });
  disk.values.set("keep older than none", { value: 2, at: start - day + 1000 });
  disk.values.set("keep new", { value: 3, at: start });
  await open(disk).alarm();
  expect([...disk.values.keys()]).toEqual(["keep older than none", "keep new"]);
  expect(disk.alarmAt).toBe(start + 1000);
  vi.setSystemTime(start + 2 * day);
  disk.alarmAt = undefined;
  await open(disk).alarm();
  expect(disk.values.size).toBe(0);
  expect(disk.alarmAt).toBeUndefined();
});

test("work that was cut too long ago, or twice, is not begun again", async () => {
  const disk = new Disk();
  disk.values.set("job 1", { interaction: { id: "1" }, receivedAt: start - 15 * 60_000, tries: 1 });
  disk.values.set("job 2", { interaction: { id: "2" }, receivedAt: start - 1000, tries: 2 });
  await open(disk).alarm();
  expect(disk.values.size).toBe(0);
});

test("a request that cannot be taken is refused so that the platform knows, and the reason is logged", async () => {
  const hand = (path: string) =>
    open(new Disk()).fetch(
      new Request(`http://room${path}`, {
        method: "POST",
        body: JSON.stringify({ interaction: {}, receivedAt: start }),
      }),
    );
  expect((await hand("/discord")).status).toBe(503);
  expect((await hand("/slack")).status).toBe(503);
  expect(JSON.stringify(vi.mocked(console.error).mock.calls)).toContain("DISCORD_TOKEN is not set");
  expect(JSON.stringify(vi.mocked(console.error).mock.calls)).toContain("SLACK_BOT_TOKEN is not set");
});

test("an alarm that fails leaves the object able to wake again", async () => {
  const disk = new Disk();
  disk.values.set("job 1", "no job");
  const room = open(disk);
  await expect(room.alarm()).rejects.toThrow();
  disk.values.clear();
  disk.values.set("keep new", { value: 3, at: start });
  await room.alarm();
  expect(disk.alarmAt).toBe(start + day);
});
