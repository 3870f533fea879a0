/** What the admin page answers with: whole pages, parts of them, and errors as sentences where they belong. */
import type { Context } from "hono";
import { AppError, renderChatError, toAppError } from "../../core/errors.ts";
import type { Logger } from "../../core/ports.ts";
import { type FormName, fieldSentence } from "./field-sentence.ts";
import { Notice } from "./layout.tsx";
import type { Session } from "./session.ts";
import { SignInPage } from "./sign-in.tsx";
import type { SignedView, View } from "./view.ts";

export interface AdminVariables {
  view: View;
  session: Session;
}
export type AdminContext = Context<{ Variables: AdminVariables }>;

/** Runs a form's deed; what is wrong with a field is said in the form, and the field is marked. */
export async function inForm<T>(id: FormName, context: AdminContext, deed: () => Promise<T>): Promise<T | Response> {
  try {
    return await deed();
  } catch (thrown) {
    const error = toAppError(thrown);
    if (error.status >= 500) throw error;
    context.header("hx-retarget", `#${id}-error`);
    context.header("hx-reswap", "innerHTML");
    context.header("hx-trigger", JSON.stringify({ "snug-field": { form: id, name: error.param ?? "" } }));
    return context.text(fieldSentence(id, error, context.get("view")), 400);
  }
}

/** The same error with the page's own sentence, unless it is one of ours or of the database. */
export function said(thrown: unknown, sentence: string): AppError {
  const error = toAppError(thrown);
  return error.status >= 500 ? error : new AppError(error.code, sentence, { cause: error });
}

export function orSay(deed: () => unknown, sentence: string): void {
  try {
    deed();
  } catch (thrown) {
    throw said(thrown, sentence);
  }
}

export function signedView(context: AdminContext): SignedView {
  return { ...context.get("view"), session: context.get("session") };
}

export function page(
  context: AdminContext,
  content: { toString(): string },
  status: 200 | 400 | 401 | 403 | 429 = 200,
) {
  return context.html(`<!doctype html>${content}`, status);
}

/** Never an address elsewhere. */
export function safePath(path: string | undefined): string {
  return path !== undefined && !path.includes("..") && /^\/admin(?:[/?][\w\-./?=&%]*)?$/.test(path) ? path : "/admin";
}

/** A part of a page that has lost its session sends the whole page to sign in. */
export function refuseStranger(context: AdminContext): Response | Promise<Response> {
  const view = context.get("view");
  if (context.req.header("hx-request") !== undefined) {
    return context.text(view.t.signedOut, 401, { "hx-redirect": "/admin" });
  }
  return page(context, <SignInPage view={view} back={safePath(view.here)} />, 401);
}

export function respondToPageError(
  thrown: unknown,
  context: AdminContext,
  logger: Logger,
): Response | Promise<Response> {
  const error = toAppError(thrown);
  if (error.status >= 500) logger.error(error.message, { code: error.code, cause: error.cause ?? error });
  const view = context.get("view");
  const sentence = error.status >= 500 ? renderChatError(error, view.locale) : error.message;
  if (context.req.header("hx-request") === undefined) return context.text(sentence, error.status);
  // Parts that refresh themselves must not grow a notice with each try.
  context.header("hx-retarget", "#notices");
  context.header("hx-reswap", context.req.method === "GET" ? "innerHTML" : "beforeend");
  return context.html(<Notice tone="bad" text={sentence} />, error.status);
}
