/** Looks for marks in a text that is still being written. */

export interface Found {
  mark: string;
  index: number;
}

/** The mark that begins first; of several at one place the longest. */
export function findFirst(text: string, marks: readonly string[]): Found | undefined {
  let first: Found | undefined;
  for (const mark of marks) {
    const index = text.indexOf(mark);
    if (index < 0 || (first !== undefined && index > first.index)) continue;
    if (first === undefined || index < first.index || mark.length > first.mark.length) first = { mark, index };
  }
  return first;
}

/** How much of the end of `text` may be the beginning of a mark. */
export function openEnd(text: string, marks: readonly string[]): number {
  return Math.max(0, ...marks.map((mark) => overlapLength(text, mark)));
}

function overlapLength(text: string, mark: string): number {
  for (let length = Math.min(text.length, mark.length - 1); length > 0; length--) {
    if (text.endsWith(mark.slice(0, length))) return length;
  }
  return 0;
}
