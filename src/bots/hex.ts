/**
 * Bytes of hexadecimal digits, either case.
 *
 * @returns undefined for anything but exactly `length` bytes
 */
export function bytesOfHex(text: string, length: number): Uint8Array<ArrayBuffer> | undefined {
  if (text.length !== length * 2 || !/^[0-9a-f]*$/i.test(text)) return undefined;
  return Uint8Array.from({ length }, (_, index) => Number.parseInt(text.slice(index * 2, index * 2 + 2), 16));
}
