/** Proof that who comes back from Slack is who set out from the install page, with nothing stored in between. */
import type { Clock } from "../../core/ports.ts";
import { deriveKey, fromBase64, toBase64 } from "../seal.ts";

export interface InstallStates {
  make(): Promise<string>;
  /** @param cookie the state that the same browser was given */
  isValid(state: string, cookie: string | undefined): Promise<boolean>;
}

/** Long enough to read what Slack asks. */
export const stateSecondsMax = 600;

const nonceBytes = 18;
const encoder = new TextEncoder();
/** Base64 in the letters that an address and a cookie take as they are. */
const inAddress = (text: string) => text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const fromAddress = (text: string) => fromBase64(text.replaceAll("-", "+").replaceAll("_", "/"));

export function createInstallStates(secret: string, clock: Clock): InstallStates {
  const key = deriveKey(secret, "snug slack install states", "sign");
  return {
    async make() {
      const nonce = inAddress(toBase64(crypto.getRandomValues(new Uint8Array(nonceBytes))));
      const signed = `${clock.now() + stateSecondsMax * 1000}.${nonce}`;
      const signature = await crypto.subtle.sign("HMAC", await key, encoder.encode(signed));
      return `${signed}.${inAddress(toBase64(new Uint8Array(signature)))}`;
    },

    async isValid(state, cookie) {
      const parts = /^(\d{1,16})\.([\w-]{24})\.([\w-]{43})$/.exec(state);
      if (parts === null || cookie !== state || Number(parts[1]) < clock.now()) return false;
      const signed = encoder.encode(`${parts[1]}.${parts[2]}`);
      return await crypto.subtle.verify("HMAC", await key, fromAddress(parts[3]!), signed);
    },
  };
}
