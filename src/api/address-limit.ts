/** Token buckets by client address: against guessing of keys, and for what anybody may ask without one. */
import type { Context } from "hono";
import { AppError } from "../core/errors.ts";
import { addressesRememberedMax } from "../core/limits.ts";
import type { Clock } from "../core/ports.ts";

export interface AddressLimitOptions {
  /** Uses at once. */
  burst: number;
  /** Uses given back every minute. */
  perMinute: number;
  clock: Clock;
  /** The client's address; undefined when it is not known, and then nothing is bounded. */
  addressOf: (context: Context) => string | undefined;
  /** Addresses remembered; default `addressesRememberedMax`. */
  addressesMax?: number;
}

export interface AddressLimit {
  /** @throws AppError rate_limit_exceeded when the address has nothing left; takes nothing */
  check(context: Context, refusal: string): void;
  spend(context: Context): void;
}

interface Bucket {
  left: number;
  at: number;
}

export function createAddressLimit(options: AddressLimitOptions): AddressLimit {
  const { burst, clock, addressesMax = addressesRememberedMax } = options;
  const perMs = options.perMinute / 60_000;
  const buckets = new Map<string, Bucket>();

  const read = (address: string): Bucket => {
    const now = clock.now();
    const bucket = buckets.get(address);
    if (bucket === undefined) return { left: burst, at: now };
    return { left: Math.min(burst, bucket.left + Math.max(0, now - bucket.at) * perMs), at: now };
  };

  return {
    check(context, refusal) {
      const address = options.addressOf(context);
      if (address === undefined) return;
      const { left } = read(networkOf(address));
      if (left < 1) {
        throw new AppError("rate_limit_exceeded", refusal, { retryAfterMs: Math.ceil((1 - left) / perMs) });
      }
    },
    spend(context) {
      const address = options.addressOf(context);
      if (address === undefined) return;
      const network = networkOf(address);
      const { left, at } = read(network);
      // Last written stands last, so the first is the one unseen for longest.
      buckets.delete(network);
      buckets.set(network, { left: left - 1, at });
      if (buckets.size > addressesMax) buckets.delete(buckets.keys().next().value!);
    },
  };
}

/** One household of the newer Internet has 2^64 addresses, so its network counts as one. */
export function networkOf(address: string): string {
  const plain = address.replace(/^::ffff:(?=\d+\.)/i, "").replace(/%.*$/, "");
  if (!plain.includes(":")) return plain;
  const [head = "", tail] = plain.split("::");
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const groups =
    tail === undefined ? left : [...left, ...Array(Math.max(0, 8 - left.length - right.length)).fill("0"), ...right];
  return `${groups
    .slice(0, 4)
    .map((group) => group.toLowerCase().replace(/^0+(?=.)/, ""))
    .join(":")}::/64`;
}
