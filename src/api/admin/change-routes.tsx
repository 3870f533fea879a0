/** What the admin page changes: requests ended, keys made and revoked, engines registered, weighed, drained, removed. */
import type { Hono, MiddlewareHandler } from "hono";
import { AppError, toAppError } from "../../core/errors.ts";
import type { KeyStore } from "../../core/ports.ts";
import type { KeyMaking } from "../auth.ts";
import type { EngineDesk } from "../engines.ts";
import { issueKey, revokeKey } from "../keys.ts";
import type { LiveRequests } from "../live-requests.ts";
import { EngineList } from "./engines.tsx";
import { amount, engineBody, keyBody, readForm } from "./form.ts";
import { KeyList, SecretPanel } from "./keys.tsx";
import { Notice } from "./layout.tsx";
import { type AdminContext, type AdminVariables, inForm, orSay, said, signedView } from "./replies.tsx";

type Admin = Hono<{ Variables: AdminVariables }>;
/** Session first, then the page's own form token. */
type Guards = [signedIn: MiddlewareHandler, ownForm: MiddlewareHandler];

export function addRequestChanges(admin: Admin, guards: Guards, live: LiveRequests): void {
  admin.post("/requests/:id/cancel", ...guards, (context) => {
    const { t } = context.get("view");
    orSay(() => live.cancel(context.req.param("id")), t.requestGone);
    context.header("hx-trigger", "snug-refresh");
    return context.html(<Notice tone="good" text={t.cancelled} />);
  });
}

export function addKeyChanges(admin: Admin, guards: Guards, making: KeyMaking & { keyStore: KeyStore }): void {
  const { keyStore, clock } = making;
  admin.post("/keys", ...guards, async (context) => {
    const body = keyBody(await readForm(context.req.raw));
    const made = await inForm("key-form", context, () => issueKey(keyStore, body, making));
    if (made instanceof Response) return made;
    const view = signedView(context);
    return context.html(
      <>
        <SecretPanel view={view} name={made.key.name} secret={made.secret} />
        <KeyList view={view} keys={await keyStore.list()} fresh />
      </>,
    );
  });
  admin.post("/keys/:id/revoke", ...guards, async (context) => {
    const view = signedView(context);
    const id = context.req.param("id");
    if (id === view.session.key.id) throw new AppError("invalid_request", view.t.ownRevoke);
    const key = await revokeKey(keyStore, id, clock.now()).catch((thrown) => {
      throw said(thrown, view.t.keyGone);
    });
    return context.html(
      <>
        <Notice tone="good" text={view.t.revoked(key.name)} />
        <KeyList view={view} keys={await keyStore.list()} fresh />
      </>,
    );
  });
}

export function addEngineChanges(admin: Admin, guards: Guards, desk: EngineDesk): void {
  const engineChanged = async (context: AdminContext, text: string) => {
    const view = signedView(context);
    return context.html(
      <>
        <Notice tone="good" text={text} />
        <EngineList view={view} engines={await desk.list()} fresh />
      </>,
    );
  };
  admin.post("/engines", ...guards, async (context) => {
    const body = engineBody(await readForm(context.req.raw));
    const engine = await inForm("engine-form", context, () => desk.add(body));
    return engine instanceof Response ? engine : engineChanged(context, context.get("view").t.registered(engine.name));
  });
  admin.post("/engines/:name/:change{drain|resume|weight|remove}", ...guards, async (context) => {
    const { t } = context.get("view");
    const { name, change } = context.req.param();
    const text = { drain: t.drained, resume: t.resumed, weight: t.weightDone, remove: t.removed }[change as "drain"];
    try {
      if (change === "remove") await desk.remove(name);
      else if (change === "weight")
        await desk.change(name, { weight: amount(await readForm(context.req.raw), "weight") });
      else await desk.change(name, { draining: change === "drain" });
    } catch (thrown) {
      const error = toAppError(thrown);
      if (error.param === "weight") throw said(error, t.fieldWrong(t.weight, t.weightHint));
      throw said(error, error.code === "not_found" ? t.engineGone : t.engineFixed);
    }
    return engineChanged(context, text(name));
  });
}
