import { Hono } from "hono";
import { expect, it } from "vitest";
import type { AppError } from "../core/errors.ts";
import { createAddressLimit, networkOf } from "./address-limit.ts";

function openDoor(options: { addressesMax?: number } = {}) {
  let now = 0;
  const limit = createAddressLimit({
    burst: 3,
    perMinute: 6,
    clock: { now: () => now },
    addressOf: (context) => context.req.header("address"),
    ...options,
  });
  const app = new Hono();
  app.onError((error, context) => context.json((error as AppError).toFacts(), 429));
  app.get("/", (context) => {
    limit.check(context, "Wait.");
    limit.spend(context);
    return context.text("in");
  });
  const knock = async (address?: string) => {
    const response = await app.request("/", { headers: address === undefined ? {} : { address } });
    return response.status === 200 ? "in" : ((await response.json()) as { retryAfterMs: number }).retryAfterMs;
  };
  return {
    knock,
    wait: (ms: number) => {
      now += ms;
    },
  };
}

it("an address has its burst, then waits as long as it is told", async () => {
  const { knock, wait } = openDoor();
  expect([await knock("a"), await knock("a"), await knock("a"), await knock("a")]).toEqual(["in", "in", "in", 10_000]);
  wait(9_999);
  expect(await knock("a")).toBe(1);
  wait(1);
  expect(await knock("a")).toBe("in");
});

it("one address does not pay for another, and an unknown one is not bounded", async () => {
  const { knock } = openDoor();
  for (let i = 0; i < 4; i++) await knock("a");
  expect(await knock("b")).toBe("in");
  for (let i = 0; i < 10; i++) expect(await knock()).toBe("in");
});

it("a rest gives back no more than the burst", async () => {
  const { knock, wait } = openDoor();
  await knock("a");
  wait(3_600_000);
  for (let i = 0; i < 3; i++) expect(await knock("a")).toBe("in");
  expect(await knock("a")).toBe(10_000);
});

it("the memory is bounded, and forgets the address unseen for longest", async () => {
  const { knock } = openDoor({ addressesMax: 2 });
  for (const address of ["a", "a", "a", "b", "a2", "b"]) await knock(address);
  expect(await knock("a")).toBe("in");
  expect(await knock("b")).toBe("in");
});

it.each([
  ["192.0.2.7", "192.0.2.7"],
  ["::ffff:192.0.2.7", "192.0.2.7"],
  ["2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64"],
  ["2001:0DB8::1", "2001:db8:0:0::/64"],
  ["fe80::1%eth0", "fe80:0:0:0::/64"],
  ["::1", "0:0:0:0::/64"],
])("%s counts as %s", (address, network) => {
  expect(networkOf(address)).toBe(network);
});
