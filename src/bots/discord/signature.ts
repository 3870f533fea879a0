/** Whether a request is Discord's: Ed25519 over the time of signing and the raw body. */
import { signedTimestampMsMax } from "../../core/limits.ts";
import type { Clock } from "../../core/ports.ts";
import { bytesOfHex } from "../hex.ts";

export type SignatureCheck = (headers: Headers, body: Uint8Array) => Promise<boolean>;

const algorithm = { name: "Ed25519" };

/**
 * Discord sends wrong signatures on purpose and takes the address off who lets one pass.
 *
 * @param publicKey of the application, 64 hexadecimal digits
 */
export function createDiscordSignatureCheck(publicKey: string, clock: Clock): SignatureCheck {
  const keyBytes = bytesOfHex(publicKey, 32);
  let key: ReturnType<typeof crypto.subtle.importKey> | undefined;
  return async (headers, body) => {
    const timestamp = headers.get("x-signature-timestamp") ?? "";
    const signature = bytesOfHex(headers.get("x-signature-ed25519") ?? "", 64);
    if (keyBytes === undefined || signature === undefined || !/^\d{1,12}$/.test(timestamp)) return false;
    if (Math.abs(clock.now() - Number(timestamp) * 1000) > signedTimestampMsMax) return false;
    key ??= crypto.subtle.importKey("raw", keyBytes, algorithm, false, ["verify"]);
    const time = new TextEncoder().encode(timestamp);
    const signed = new Uint8Array(time.length + body.length);
    signed.set(time);
    signed.set(body, time.length);
    return await crypto.subtle.verify(algorithm, await key, signature, signed);
  };
}
