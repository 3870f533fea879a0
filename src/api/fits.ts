/**
 * What fits where, and the tables behind it. Nothing here needs an engine or a key; answers follow from the question and
 * this version alone, so they carry an ETag and may be kept.
 */
import { type Context, Hono } from "hono";
import * as z from "zod";
import { AppError, type Locale } from "../core/errors.ts";
import { fitBodyBytesMax } from "../core/limits.ts";
import { answerQuery, type FitsAnswer } from "../fit/answer.ts";
import { renderPicture } from "../fit/answer-picture.ts";
import { answerFitsRequestOrThrow, type DoorDependencies, readQueryModel } from "../fit/door.ts";
import { taughtHardware } from "../fit/learned.ts";
import { type FitsQuery, parseQuery } from "../fit/query.ts";
import { renderMarkdown } from "../fit/render.ts";
import { renderTerminal } from "../fit/render-terminal.ts";
import { readJsonBody } from "../http/json-body.ts";
import { type AnswerFormat, answerFormats, contentTypes, negotiateFormat, negotiateLocale } from "./fits-format.ts";
import { listCatalogue, listGpus } from "./fits-tables.ts";
import { parseParameters } from "./parameters.ts";

/** What the planner cannot do by itself: read the header of a file somewhere else. */
export type FitDesk = DoorDependencies;

export interface FitRoutesOptions {
  fits: FitDesk;
  /** Part of every ETag: another version may answer otherwise. */
  version: string;
}

/** Data changes with a version only; an hour keeps a new one from being waited for long. */
const cacheControl = "public, max-age=3600";

/** `GET` and `POST /v1/fits`, `GET /v1/models/catalogue`, `GET /v1/gpus`. */
export function createFitRoutes({ fits, version }: FitRoutesOptions): Hono {
  const app = new Hono();
  app.get("/v1/fits", (context) => answerQuestion(context, fits, version));
  app.post("/v1/fits", async (context) =>
    context.json(await answerFitsRequestOrThrow(await readJsonBody(context.req.raw, fitBodyBytesMax), fits)),
  );
  app.get("/v1/models/catalogue", (context) => answerTable(context, version, listCatalogue));
  app.get("/v1/gpus", (context) => answerTable(context, version, listGpus));
  return app;
}

const questionSchema = z.object({
  q: z.string().optional(),
  lang: z.enum(["en", "zh"], "must be en or zh").optional(),
  format: z.enum(answerFormats, `must be one of ${answerFormats.join(", ")}`).optional(),
  columns: z.coerce.number("must be a number of columns").int("must be a whole number").min(40).max(400).optional(),
  theme: z.enum(["light", "dark", "auto"], "must be light, dark or auto").optional(),
});

interface Dress {
  format: AnswerFormat;
  locale: Locale;
  columns: number;
  theme: "light" | "dark" | "auto";
}

async function answerQuestion(context: Context, fits: FitDesk, version: string): Promise<Response> {
  const { q = "", lang, format, columns = 80, theme = "auto" } = parseParameters(questionSchema, context.req.query());
  const query = parseQuery(q);
  const dress: Dress = {
    format: format ?? negotiateFormat(context.req.header("accept")),
    locale: lang ?? (query.locale === "zh" ? "zh" : negotiateLocale(context.req.header("accept-language"))),
    columns,
    theme,
  };
  const headers: Record<string, string> = { vary: "Accept, Accept-Language" };
  const isOwn = query.hardware !== undefined && taughtHardware(query.hardware, fits.machine?.()) !== undefined;
  // A file may change behind its name, and this machine learns; everything else follows from the question.
  if (query.model?.kind === "gguf" || isOwn) headers["cache-control"] = "no-store";
  else {
    headers["cache-control"] = cacheControl;
    headers.etag = await tagOf([version, query.text, ...Object.values(dress)]);
    if (isKnown(context, headers.etag)) return new Response(null, { status: 304, headers });
  }
  const body = renderAnswer(await answerOf(query, fits), dress);
  headers["content-type"] = contentTypes[dress.format];
  if (dress.format !== "json") headers["content-language"] = dress.locale;
  // The picture's own style sheet follows the reader's dark mode.
  if (dress.format === "svg") headers["content-security-policy"] = "default-src 'none'; style-src 'unsafe-inline'";
  return new Response(body, { headers });
}

async function answerOf(query: FitsQuery, fits: FitDesk): Promise<FitsAnswer> {
  const model = await readQueryModel(query, fits);
  const machine = fits.machine?.();
  return answerQuery(query, {
    ...(model === undefined ? {} : { model }),
    ...(machine === undefined ? {} : { machine }),
  });
}

function renderAnswer(answer: FitsAnswer, { format, locale, columns, theme }: Dress): string {
  switch (format) {
    case "json":
      return JSON.stringify(answer);
    case "markdown":
      return renderMarkdown(answer, locale);
    case "text":
    case "terminal":
      return `${renderTerminal(answer, { locale, columns, colour: format === "terminal" })}\n`;
    case "svg": {
      const picture = renderPicture(answer, locale, theme);
      if (picture !== undefined) return picture;
      throw new AppError("invalid_request", "That answer has no picture; ask for another format, such as markdown.", {
        param: "format",
      });
    }
  }
}

async function answerTable(
  context: Context,
  version: string,
  list: (parameters: Record<string, string>) => unknown[],
): Promise<Response> {
  const parameters = context.req.query();
  const asked = Object.entries(parameters).sort(([a], [b]) => (a < b ? -1 : 1));
  const etag = await tagOf([version, context.req.path, ...asked.flat()]);
  const headers = { "cache-control": cacheControl, etag };
  const data = list(parameters);
  if (isKnown(context, etag)) return new Response(null, { status: 304, headers });
  return context.json({ count: data.length, data }, 200, headers);
}

/** A strong tag: the same parts give the same bytes. */
async function tagOf(parts: readonly (string | number)[]): Promise<string> {
  const bytes = new TextEncoder().encode(JSON.stringify(parts));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return `"${[...digest.subarray(0, 12)].map((byte) => byte.toString(16).padStart(2, "0")).join("")}"`;
}

/** Proxies that compress mark a tag as weak; for this comparison that makes no difference (RFC 9110, 13.1.2). */
function isKnown(context: Context, etag: string): boolean {
  const header = context.req.header("if-none-match");
  if (header === undefined) return false;
  return header.trim() === "*" || header.split(",").some((tag) => tag.trim().replace(/^W\//, "") === etag);
}
