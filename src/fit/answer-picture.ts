/** The picture that goes with an answer. */
import type { Locale } from "../core/errors.ts";
import { planName } from "./answer-sentences.ts";
import type { FitsAnswer } from "./answer-types.ts";
import { drawPicture, type PictureInput } from "./picture.ts";
import { hardwareLabel } from "./query-echo.ts";

/** SVG of the answer's memory and speed; undefined where there is nothing to draw, as for a term. */
export function renderPicture(
  answer: FitsAnswer,
  locale: Locale,
  theme: PictureInput["theme"] = "auto",
): string | undefined {
  if (answer.memory.length === 0) return undefined;
  return drawPicture({
    title: answer.verdict.line[locale],
    subtitle: subtitleOf(answer, locale),
    bars: answer.memory,
    speed: answer.speedByContext,
    locale,
    theme,
  });
}

/** What was asked, and what of the answer the bars show where the question named only half of it. */
function subtitleOf(answer: FitsAnswer, locale: Locale): string {
  const parts = [answer.query.echo[locale]];
  const pick = answer.models[0]?.plan;
  if (pick !== undefined) parts.push(planName(pick, locale));
  if (answer.query.hardware === undefined && answer.hardware !== undefined)
    parts.push(hardwareLabel(answer.hardware, locale));
  return parts.join(" · ");
}
