/** The routes by which operators look into a running engine and drive it. */
import type { Context, Hono, MiddlewareHandler } from "hono";
import { AppError } from "../core/errors.ts";
import { adminBodyBytesMax, compareBodyBytesMax } from "../core/limits.ts";
import { readJsonBody } from "../http/json-body.ts";
import { parseDoctorQuestion, parseOperation, parsePlanQuestion } from "../http/operations.ts";
import { metricsContentType, renderEngineMetrics } from "./metrics.ts";
import { carryOut, type EngineControl } from "./operations.ts";

/**
 * @param mayLook lets those through who may see the engine's state
 * @param mayDrive lets those through who may change it
 * @param isOpen nobody shows a token to look
 */
export function addAdminRoutes(
  app: Hono,
  control: EngineControl,
  { mayLook, mayDrive, isOpen }: { mayLook: MiddlewareHandler; mayDrive: MiddlewareHandler; isOpen: boolean },
): void {
  app.get("/status", mayLook, async (context) =>
    context.json(await carryOut(control, { verb: "status" }), 200, noStore),
  );
  app.get("/metrics", mayLook, async () => {
    const text = renderEngineMetrics(await control.health(), control.status(), control.machine?.latest);
    return new Response(text, { headers: { ...noStore, "content-type": metricsContentType } });
  });
  app.get("/plan", mayLook, async (context) => {
    const { model } = parsePlanQuestion(context.req.query("model"));
    return context.json(await control.plan(model, { anyPlace: !isOpen }), 200, noStore);
  });
  app.get("/doctor", mayLook, async (context) =>
    context.json(await carryOut(control, parseDoctorQuestion(context.req.query("lang"))), 200, noStore),
  );
  app.get("/monitoring", mayLook, async (context) =>
    context.json(await carryOut(control, { verb: "monitoring" }), 200, noStore),
  );
  const drive = (verb: "load" | "unload" | "drain") => async (context: Context) => {
    const operation = parseOperation(verb, await readJsonBody(context.req.raw, adminBodyBytesMax));
    return context.json(await carryOut(control, operation));
  };
  app.post("/admin/load", mayDrive, drive("load"));
  app.post("/admin/unload", mayDrive, drive("unload"));
  app.post("/admin/drain", mayDrive, drive("drain"));
  app.post("/compare", mayDrive, async (context) => {
    const request = asObject(await readJsonBody(context.req.raw, compareBodyBytesMax));
    return context.json(await carryOut(control, { verb: "compare", request }), 202);
  });
  app.get("/compare/:id", mayLook, async (context) =>
    context.json(await carryOut(control, { verb: "comparison", id: context.req.param("id") }), 200, noStore),
  );
  app.delete("/compare/:id", mayDrive, async (context) =>
    context.json(await carryOut(control, { verb: "cancel_comparison", id: context.req.param("id") })),
  );
}

const noStore = { "cache-control": "no-store" };

function asObject(body: unknown): Record<string, unknown> {
  if (typeof body === "object" && body !== null && !Array.isArray(body)) return { ...body };
  throw new AppError("invalid_request", "body must be a JSON object.", { param: "body" });
}
