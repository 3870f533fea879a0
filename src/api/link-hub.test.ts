import { describe, expect, it, vi } from "vitest";
import type { ApiKey } from "../core/ports.ts";
import { encodeFrame } from "../http/link-frames.ts";
import type { LinkSocket } from "../http/link-session.ts";
import { createLinkHub } from "./link-hub.ts";

const logger = { debug() {}, info() {}, warn() {}, error() {} };

function openHub() {
  let now = 1_000_000;
  const timer = { now: () => now, wait: async () => {} };
  const hub = createLinkHub({ timer, logger });
  const dial = (name: string, instance = "first", keyId = "key-1") => {
    const socket = { send: vi.fn<LinkSocket["send"]>(), close: vi.fn<LinkSocket["close"]>() };
    const connection = hub.accept(socket, { name, keyId });
    connection.receive(
      encodeFrame({
        ...{
          type: "hello",
          id: 0,
          seq: 0,
          version: 1,
          engine: name,
          instance,
          software: "1",
          draining: false,
          facts: {},
        },
        health: { state: "ready", active: 0, queued: 0, slots: 2 },
        models: [{ id: "m", loaded: true }],
      }),
    );
    return { socket, connection };
  };
  return { hub, dial, pass: (ms: number) => (now += ms) };
}

const goodKey: ApiKey = { id: "key-1", name: "home", scopes: ["engine"], fingerprint: "f", createdAt: 1 };
const keys = (key?: ApiKey) => ({ find: async () => key });

describe("engines that dialled in", () => {
  it("are there by name while they are connected, and stopped when they are not", async () => {
    const { hub, dial } = openHub();
    const engine = hub.engine("home");
    expect(await engine.health()).toMatchObject({ state: "stopped", reason: expect.stringContaining("home") });
    const { connection } = dial("home");
    expect(await engine.health()).toMatchObject({ state: "ready", slots: 2 });
    expect(await engine.models()).toMatchObject([{ id: "m" }]);
    connection.closed();
    expect((await engine.health()).state).toBe("stopped");
    await expect(engine.models()).rejects.toMatchObject({ code: "engine_unavailable" });
  });

  it("answer a ping", () => {
    const { dial } = openHub();
    const { socket, connection } = dial("home");
    connection.receive("ping");
    expect(socket.send).toHaveBeenLastCalledWith("pong");
  });

  it("take their own place again, before the old connection is known to be dead", async () => {
    const { hub, dial } = openHub();
    const before = dial("home");
    const after = dial("home");
    expect(before.socket.close).toHaveBeenCalledWith(4408, expect.any(String));
    before.connection.closed();
    expect((await hub.engine("home").health()).state).toBe("ready");
    expect(after.socket.close).not.toHaveBeenCalled();
  });

  it("do not take another's name while that one is heard of, and may when it fell silent", async () => {
    const { hub, dial, pass } = openHub();
    dial("home");
    expect(dial("home", "second").socket.close).toHaveBeenCalledWith(4409, expect.any(String));
    pass(61_000);
    expect(dial("home", "third").socket.close).not.toHaveBeenCalled();
    expect((await hub.engine("home").health()).state).toBe("ready");
  });

  it("are let go when nothing is heard of them", async () => {
    const { hub, dial, pass } = openHub();
    const { socket } = dial("home");
    pass(59_000);
    await hub.tidy(keys(goodKey));
    expect(socket.close).not.toHaveBeenCalled();
    pass(2_000);
    await hub.tidy(keys(goodKey));
    expect(socket.close).toHaveBeenCalledWith(4410, expect.any(String));
    expect((await hub.engine("home").health()).state).toBe("stopped");
  });

  it.each([
    ["revoked", { ...goodKey, revokedAt: 2 }],
    ["expired", { ...goodKey, expiresAt: 2 }],
    ["gone", undefined],
  ])("are let go when their key is %s", async (_how, key) => {
    const { hub, dial } = openHub();
    const { socket } = dial("home");
    await hub.tidy(keys(key));
    expect(socket.close).toHaveBeenCalledWith(4401, expect.any(String));
    expect((await hub.engine("home").health()).state).toBe("stopped");
  });

  it("are told to stay away when they were removed", async () => {
    const { hub, dial } = openHub();
    const { socket } = dial("home");
    hub.remove("home");
    expect(socket.close).toHaveBeenCalledWith(4403, expect.any(String));
    expect((await hub.engine("home").health()).state).toBe("stopped");
    hub.remove("nobody");
  });

  it("are told when the API stops", async () => {
    const { hub, dial } = openHub();
    const { socket } = dial("home");
    await hub.close(0);
    expect(socket.close).toHaveBeenCalledWith(1001, expect.any(String));
  });
});
