/** Lines of a stream, however long somebody makes them. */

/**
 * Lines without their line ends (\n or \r\n). A line longer than `charsMax` comes as its first `charsMax + 1` characters; the
 * rest of it is read over, so that memory stays bounded. What cannot be UTF-8 becomes U+FFFD.
 */
export async function* readLines(
  chunks: AsyncIterable<Uint8Array | string>,
  charsMax: number,
): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  let line = "";
  const add = (part: string): void => {
    if (line.length <= charsMax) line += part.slice(0, charsMax + 1 - line.length);
  };
  for await (const chunk of chunks) {
    const parts = (typeof chunk === "string" ? chunk : decoder.decode(chunk, { stream: true })).split("\n");
    for (const [index, part] of parts.entries()) {
      add(part);
      if (index === parts.length - 1) break;
      yield withoutReturn(line);
      line = "";
    }
  }
  add(decoder.decode());
  if (line !== "") yield withoutReturn(line);
}

function withoutReturn(line: string): string {
  return line.endsWith("\r") ? line.slice(0, -1) : line;
}
