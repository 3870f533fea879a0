import { expect, test } from "vitest";
import { ContextGate } from "./context-gate.ts";

test("the gate is closed while anybody works behind it, also when that fails, and open again afterwards", async () => {
  const gate = new ContextGate();
  expect(gate.closed).toBeUndefined();
  let finish = () => {};
  const first = gate.hold(() => new Promise((resolve) => (finish = resolve)));
  const second = gate.hold(() => Promise.reject(new Error("no room")));
  const { closed } = gate;
  expect(closed).toBeInstanceOf(Promise);
  await expect(second).rejects.toThrow("no room");
  expect(gate.closed).toBe(closed);
  finish();
  await Promise.all([first, closed]);
  expect(gate.closed).toBeUndefined();
});
