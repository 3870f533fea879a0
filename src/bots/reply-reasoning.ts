/** Reasoning models think aloud between <think> and </think>; that part is not the answer. */

export interface Spoken {
  reasoning: string;
  answer: string;
  /** True while the model is still thinking. */
  thinking: boolean;
}

const opening = "<think>";
const closing = "</think>";

/**
 * Parts a raw answer. The opening tag counts at the very start alone, where templates and models put it, so that text
 * about the tag is left as it is; some templates write it themselves, so a closing tag on a line of its own counts too.
 *
 * @param ended false while text may still be appended: the beginning of a tag is then kept back
 */
export function partReasoning(raw: string, ended: boolean): Spoken {
  const text = raw.trimStart();
  if (!ended && text !== "" && opening.startsWith(text)) return { reasoning: "", answer: "", thinking: true };
  if (text.startsWith(opening)) {
    const end = text.indexOf(closing);
    if (end >= 0) return parted(text.slice(opening.length, end), text.slice(end + closing.length));
    const begun = ended ? text : withoutPartialTag(text);
    // A model that never stopped thinking has said nothing else, so its thoughts are all there is.
    return { reasoning: begun.slice(opening.length).trim(), answer: "", thinking: !ended };
  }
  const lone = /(^|\n)[ \t]*<\/think>[ \t]*(\n|$)/.exec(text);
  if (lone !== null) return parted(text.slice(0, lone.index), text.slice(lone.index + lone[0].length));
  return { reasoning: "", answer: ended ? text : withoutPartialTag(text), thinking: false };
}

function parted(reasoning: string, answer: string): Spoken {
  return { reasoning: reasoning.trim(), answer: answer.trimStart(), thinking: false };
}

/** Without a trailing beginning of the closing tag. */
function withoutPartialTag(text: string): string {
  const start = text.lastIndexOf("<");
  return start >= 0 && closing.startsWith(text.slice(start)) ? text.slice(0, start) : text;
}
