/** The picture that goes with an answer. */
import type { Locale } from "../core/errors.ts";
import type { FitsAnswer } from "./answer-types.ts";
import { drawPicture, type PictureInput } from "./picture.ts";

/** SVG of the answer's memory and speed; undefined where there is nothing to draw, as for a term. */
export function renderPicture(
  answer: FitsAnswer,
  locale: Locale,
  theme: PictureInput["theme"] = "auto",
): string | undefined {
  if (answer.memory.length === 0) return undefined;
  return drawPicture({
    title: answer.verdict.line[locale],
    subtitle: answer.verdict.reason[locale],
    bars: answer.memory,
    speed: answer.speedByContext,
    locale,
    theme,
  });
}
