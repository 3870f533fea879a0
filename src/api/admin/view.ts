/** What every part of the admin page is drawn with. */
import type { Locale } from "../../core/errors.ts";
import type { Formats } from "./format.ts";
import type { Session } from "./session.ts";
import type { Texts } from "./texts.ts";

export type Theme = "auto" | "light" | "dark";

export interface View {
  locale: Locale;
  t: Texts;
  f: Formats;
  theme: Theme;
  /** Path and query of the page, to come back to. */
  here: string;
  version: string;
  /** Milliseconds since the epoch. */
  now: number;
}

/** A view of somebody who is signed in. */
export interface SignedView extends View {
  session: Session;
}
