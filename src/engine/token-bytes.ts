/** The bytes behind a vocabulary's way to write them: a token may be a part of a character. */

/** Character of a byte-level vocabulary → its byte. GPT-2's table: printable bytes stand for themselves, the others follow. */
const byteOfCharacter = new Map<string, number>();
for (let byte = 0, next = 256; byte < 256; byte++) {
  const itself = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
  byteOfCharacter.set(String.fromCodePoint(itself ? byte : next++), byte);
}

const encoder = new TextEncoder();

/**
 * @param written the token as the vocabulary has it
 * @param text the token as it reads alone; where it has broken characters, the bytes come from `written`
 */
export function bytesOfToken(written: string, text: string): number[] {
  if (!text.includes("\uFFFD")) return [...encoder.encode(text)];
  const [, hex] = /^<0x([0-9A-F]{2})>$/.exec(written) ?? [];
  if (hex !== undefined) return [Number.parseInt(hex, 16)];
  const bytes = [...written].map((character) => byteOfCharacter.get(character));
  return bytes.every((byte) => byte !== undefined) ? bytes : [...encoder.encode(text)];
}
