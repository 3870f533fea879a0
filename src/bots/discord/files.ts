/** Attachments of Discord messages and commands as files of a question. */
import type { Attachment } from "discord.js";
import type { QuestionFile } from "../question.ts";

export function questionFileOf(attachment: Attachment): QuestionFile {
  return {
    name: attachment.name,
    sizeBytes: attachment.size,
    ...(attachment.contentType === null ? {} : { contentType: attachment.contentType }),
    read: (bytesMax, signal) => download(attachment.url, bytesMax, signal),
  };
}

/** At most one byte over the limit is taken in, so that the caller sees that there is more. */
export async function download(url: string, bytesMax: number, signal: AbortSignal): Promise<Uint8Array> {
  const response = await fetch(url, { signal });
  if (!response.ok || response.body === null) throw new Error(`The download ended with status ${response.status}`);
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
    chunks.push(chunk);
    length += chunk.length;
    // Leaving the loop cancels the download.
    if (length > bytesMax) break;
  }
  const bytes = new Uint8Array(length);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}
