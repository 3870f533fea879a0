/** Files that come with a question: text is read into it, everything else is refused with a reason. */
import { questionFileBytesMax, questionFilesMax } from "../core/limits.ts";
import { formatBytes } from "../core/units.ts";
import type { Texts } from "./locale/texts.ts";
import type { QuestionFile } from "./question.ts";

export type FilesRead = { text: string } | { refusal: string };

const pictures = /\.(png|jpe?g|gif|webp|bmp|heic|avif|svg|tiff?)$/i;
const documents = /\.(pdf|docx?|xlsx?|pptx?|odt|ods|odp|rtf|epub|pages|numbers)$/i;
const textTypes = /^(text\/|application\/(json|xml|x-yaml|yaml|toml|javascript|typescript|sql|x-sh|x-ndjson|csv)\b)/;

/**
 * @returns the files as one text with their names, or one sentence that says why not
 */
export async function readQuestionFiles(
  files: readonly QuestionFile[],
  texts: Texts,
  signal: AbortSignal,
): Promise<FilesRead> {
  if (files.length > questionFilesMax) return { refusal: texts.tooManyFiles(questionFilesMax) };
  const refusal = files.map((file) => refuse(file, texts)).find((one) => one !== undefined);
  if (refusal !== undefined) return { refusal };
  const parts: string[] = [];
  for (const file of files) {
    let bytes: Uint8Array;
    try {
      bytes = await file.read(questionFileBytesMax, signal);
    } catch {
      return { refusal: texts.fileUnreadable(file.name) };
    }
    if (bytes.length > questionFileBytesMax) return { refusal: overLimit(file, texts) };
    const text = decodeText(bytes);
    if (text === undefined) return { refusal: texts.fileIsNotText(file.name) };
    parts.push(`${file.name}:\n\`\`\`\n${text.trimEnd()}\n\`\`\``);
  }
  return { text: parts.join("\n\n") };
}

function refuse(file: QuestionFile, texts: Texts): string | undefined {
  const type = file.contentType ?? "";
  if (pictures.test(file.name) || type.startsWith("image/")) return texts.fileIsPicture(file.name);
  if (documents.test(file.name) || type.startsWith("application/pdf")) return texts.fileIsDocument(file.name);
  if (/^(audio|video|font|model)\//.test(type) && !textTypes.test(type)) return texts.fileIsNotText(file.name);
  if (file.sizeBytes > questionFileBytesMax) return overLimit(file, texts);
  return undefined;
}

function overLimit(file: QuestionFile, texts: Texts): string {
  return texts.fileOverLimit(file.name, formatBytes(questionFileBytesMax));
}

/**
 * Text in the encodings people really send: UTF-8, UTF-16 with its mark, and GB18030, which Chinese Windows still
 * writes. Undefined for anything that decodes to control characters.
 */
export function decodeText(bytes: Uint8Array): string | undefined {
  const marks: [number, number, string][] = [
    [0xff, 0xfe, "utf-16le"],
    [0xfe, 0xff, "utf-16be"],
  ];
  const marked = marks.find(([first, second]) => bytes[0] === first && bytes[1] === second)?.[2];
  for (const encoding of marked === undefined ? ["utf-8", "gb18030"] : [marked]) {
    try {
      const text = new TextDecoder(encoding, { fatal: true, ignoreBOM: false }).decode(bytes);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what tells binary data from text
      if (!/[\u0000-\u0008\u000e-\u001a\u001c-\u001f\ufffe\uffff]/.test(text)) return text;
    } catch {
      // Not this encoding; the next may be right.
    }
  }
  return undefined;
}
