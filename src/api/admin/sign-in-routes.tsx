/** Coming in and going out. */
import type { Hono, MiddlewareHandler } from "hono";
import { AppError, toAppError } from "../../core/errors.ts";
import type { Logger } from "../../core/ports.ts";
import { field, readForm } from "./form.ts";
import { type AdminVariables, page, safePath } from "./replies.tsx";
import { isForeign, type SessionDesk } from "./session.ts";
import { SignInPage } from "./sign-in.tsx";

export function addSignIn(
  admin: Hono<{ Variables: AdminVariables }>,
  { sessions, signedIn, logger }: { sessions: SessionDesk; signedIn: MiddlewareHandler; logger: Logger },
): void {
  admin.post("/sign-in", async (context) => {
    const form = await readForm(context.req.raw);
    const back = safePath(form.get("back") ?? undefined);
    const { t } = context.get("view");
    const again = (problem: string, status: 400 | 401 | 403 | 429) =>
      page(context, <SignInPage view={context.get("view")} problem={problem} back={back} />, status);
    if (isForeign(context)) return again(t.foreignForm, 403);
    const secret = field(form, "key");
    if (secret === undefined) return again(t.signInEmpty, 400);
    try {
      await sessions.signIn(context, secret);
    } catch (thrown) {
      const error = toAppError(thrown);
      if (error.code === "invalid_api_key") return again(t.signInWrong, 401);
      if (error.code === "permission_denied") return again(t.signInScope, 403);
      if (error.code !== "rate_limit_exceeded") throw error;
      const seconds = Math.max(1, Math.ceil((error.retryAfterMs ?? 0) / 1000));
      context.header("retry-after", String(seconds));
      return again(t.tooManyGuesses(seconds), 429);
    }
    logger.info("Somebody signed in to the admin page.");
    return context.redirect(back, 303);
  });

  admin.post("/sign-out", signedIn, async (context) => {
    const form = await readForm(context.req.raw);
    if (isForeign(context) || form.get("form") !== context.get("session").formToken) {
      throw new AppError("permission_denied", context.get("view").t.foreignForm);
    }
    await sessions.signOut(context);
    return context.redirect("/admin", 303);
  });
}
