/** Secrets at rest: AES-256-GCM with keys derived from one long setting. */
import { AppError } from "../core/errors.ts";

export interface Seal {
  /** @param boundTo what the text belongs to; it opens for the same alone, so that rows cannot be swapped */
  close(text: string, boundTo: string): Promise<string>;
  /** @throws AppError invalid_configuration for another key, another owner, or a text that was changed */
  open(sealed: string, boundTo: string): Promise<string>;
}

const version = "v1";
const ivBytes = 12;
const encoder = new TextEncoder();

/**
 * @param secret long and random, so that no slow derivation is needed: HKDF with SHA-256 (RFC 5869)
 * @param purpose keeps the keys of different uses apart
 */
export async function deriveKey<Use extends "encrypt" | "sign">(secret: string, purpose: string, use: Use) {
  const material = await crypto.subtle.importKey("raw", encoder.encode(secret), "HKDF", false, ["deriveKey"]);
  const derivation = { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(), info: encoder.encode(purpose) };
  return use === "encrypt"
    ? await crypto.subtle.deriveKey(derivation, material, { name: "AES-GCM", length: 256 }, false, [
        "encrypt",
        "decrypt",
      ])
    : await crypto.subtle.deriveKey(derivation, material, { name: "HMAC", hash: "SHA-256", length: 256 }, false, [
        "sign",
        "verify",
      ]);
}

/** @param setting named in errors, as what to look at */
export function createSeal(secret: string, { purpose, setting }: { purpose: string; setting: string }): Seal {
  const key = deriveKey(secret, purpose, "encrypt");
  const cipher = (iv: Uint8Array<ArrayBuffer>, boundTo: string) => ({
    name: "AES-GCM",
    iv,
    additionalData: encoder.encode(`${version} ${boundTo}`),
  });
  return {
    async close(text, boundTo) {
      const iv = crypto.getRandomValues(new Uint8Array(ivBytes));
      const bytes = await crypto.subtle.encrypt(cipher(iv, boundTo), await key, encoder.encode(text));
      return [version, toBase64(iv), toBase64(new Uint8Array(bytes))].join(".");
    },

    async open(sealed, boundTo) {
      try {
        const [mark, iv = "", bytes = ""] = sealed.split(".");
        if (mark !== version) throw new Error(`sealed as ${mark}`);
        const text = await crypto.subtle.decrypt(cipher(fromBase64(iv), boundTo), await key, fromBase64(bytes));
        return new TextDecoder().decode(text);
      } catch (cause) {
        throw new AppError(
          "invalid_configuration",
          `What is stored for ${boundTo} cannot be decrypted. Put the ${setting} back that it was stored with, or remove the row and install the app there again.`,
          { cause },
        );
      }
    },
  };
}

export function toBase64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
}

/** @throws DOMException for anything else */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
