/** Files, both ways: attachments of messages as files of a question, and pictures and long answers as uploads. */
import * as z from "zod";
import type { ChatFile } from "../../core/ports.ts";
import type { QuestionFile } from "../question.ts";
import type { SlackContext } from "./context.ts";
import { toPlatformError } from "./errors.ts";

export const slackFileSchema = z.object({
  name: z.string().nullish(),
  mimetype: z.string().nullish(),
  size: z.number().nullish(),
  url_private_download: z.string().optional(),
  url_private: z.string().optional(),
});

export type SlackFile = z.infer<typeof slackFileSchema>;

export function questionFilesOf(files: readonly unknown[], download: SlackContext["download"]): QuestionFile[] {
  return files.flatMap((file) => {
    const parsed = slackFileSchema.safeParse(file);
    return parsed.success ? [questionFileOf(parsed.data, download)] : [];
  });
}

function questionFileOf(file: SlackFile, download: SlackContext["download"]): QuestionFile {
  const url = file.url_private_download ?? file.url_private;
  return {
    name: file.name ?? "file",
    sizeBytes: file.size ?? 0,
    ...(file.mimetype == null ? {} : { contentType: file.mimetype }),
    read: async (bytesMax, signal) => {
      if (url === undefined) throw new Error("Slack gave no address for the file");
      return await download(url, bytesMax, signal);
    },
  };
}

/** At most one byte over the limit is taken in, so that the caller sees that there is more. */
export async function readBody(response: Response, bytesMax: number): Promise<Uint8Array> {
  if (!response.ok || response.body === null) throw new Error(`The download ended with status ${response.status}`);
  const chunks: Uint8Array[] = [];
  let length = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    length += value.length;
    if (length > bytesMax) {
      await reader.cancel();
      break;
    }
  }
  const bytes = new Uint8Array(length);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}

const uploadSchema = z.object({ upload_url: z.string(), file_id: z.string() });

type FileContext = Pick<SlackContext, "calls" | "upload" | "logger">;

/** Puts a file into a thread. Never rejects: the message it belongs to is there already. */
export async function sendFile(
  context: FileContext,
  { channel, threadTs }: { channel: string; threadTs?: string | undefined },
  file: ChatFile,
): Promise<void> {
  try {
    const place = { channel_id: channel, ...(threadTs === undefined ? {} : { thread_ts: threadTs }) };
    await uploadFile(context, file, place);
  } catch (thrown) {
    const { message, platformCode } = toPlatformError(thrown);
    context.logger.warn("a file could not be sent", { fileName: file.name, platformCode, error: message });
  }
}

/**
 * @param place where it is shown; none keeps it with the bot, for blocks that name it
 * @returns the file's id
 * @throws ChatPlatformError, or what the upload throws
 */
export async function uploadFile(
  { calls, upload }: FileContext,
  file: ChatFile,
  place: { channel_id?: string; thread_ts?: string } = {},
): Promise<string> {
  const { upload_url, file_id } = uploadSchema.parse(
    await calls.insist("files.getUploadURLExternal", {
      filename: file.name,
      length: file.bytes.length,
      ...(file.description === undefined ? {} : { alt_txt: file.description.slice(0, 1000) }),
    }),
  );
  await upload(upload_url, file.bytes);
  await calls.insist("files.completeUploadExternal", { files: [{ id: file_id, title: file.name }], ...place });
  return file_id;
}
