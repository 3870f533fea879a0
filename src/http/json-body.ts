/** Bounded reading of JSON bodies, requests and replies alike. */
import { AppError } from "../core/errors.ts";
import { requestBodyBytesMax } from "../core/limits.ts";
import type { HttpBody } from "./transport.ts";

/**
 * The decoded body of a request.
 *
 * @throws AppError payload_too_large (unread where its length is announced) or invalid_request
 */
export async function readJsonBody(request: Request, bytesMax = requestBodyBytesMax): Promise<unknown> {
  const type = request.headers.get("content-type") ?? "";
  if (!/^application\/(?:[\w.-]+\+)?json\s*(?:;|$)/i.test(type)) {
    throw new AppError("invalid_request", "The body must be JSON; send it with 'Content-Type: application/json'.");
  }
  const bytes = await readBounded(request, bytesMax);
  if (bytes === undefined) throw bodyTooLarge(bytesMax);
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: false }).decode(bytes));
  } catch {
    // The parser's own message quotes the body, and bodies hold people's words.
    throw new AppError("invalid_request", "The body is not valid JSON; check quotes, commas and the encoding (UTF-8).");
  }
}

/** Undefined when the body is too large. */
async function readBounded(request: Request, bytesMax: number): Promise<Uint8Array | undefined> {
  const announced = request.headers.get("content-length");
  if (Number(announced ?? 0) > bytesMax) return undefined;
  try {
    // Servers hold a body to its announced length, so it can be read in one go, which is several times faster.
    const bytes =
      announced === null ? await readBytes(request.body, bytesMax) : new Uint8Array(await request.arrayBuffer());
    return bytes !== undefined && bytes.byteLength > bytesMax ? undefined : bytes;
  } catch (cause) {
    throw new AppError("invalid_request", "The body broke off before its end; send it again.", { cause });
  }
}

/** All bytes, or undefined when there are more than `bytesMax`; the rest is then not read. */
export async function readBytes(body: HttpBody | null, bytesMax: number): Promise<Uint8Array | undefined> {
  if (body === null) return new Uint8Array();
  const reader = body.getReader();
  const chunks: Uint8Array[] = [];
  let length = 0;
  for (;;) {
    const { value, done } = await reader.read();
    if (done || value === undefined) break;
    length += value.byteLength;
    if (length > bytesMax) {
      reader.cancel().catch(() => {});
      return undefined;
    }
    chunks.push(value);
  }
  if (chunks.length === 1) return chunks[0];
  const whole = new Uint8Array(length);
  let offset = 0;
  for (const chunk of chunks) {
    whole.set(chunk, offset);
    offset += chunk.byteLength;
  }
  return whole;
}

function bodyTooLarge(bytesMax: number): AppError {
  return new AppError("payload_too_large", `The body is larger than ${bytesMax} bytes; send a shorter one.`, {
    details: { bytesMax },
  });
}
