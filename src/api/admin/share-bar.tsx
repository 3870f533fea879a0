/** A part of a whole as a bar; the figure stands beside it. */
import type { FC } from "hono/jsx";

/** @param place of the line in the chart, or what the bar means */
export const ShareBar: FC<{ share: number; place: number | string }> = ({ share, place }) => (
  <svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">
    <rect class="track" width="100" height="6" />
    <rect class={`line-${place}`} width={share * 100} height="6" />
  </svg>
);
