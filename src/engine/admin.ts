/** What an operator may ask of a running engine: its state, its figures, a forecast, and load, unload, drain. */
import type { Hono, MiddlewareHandler } from "hono";
import * as z from "zod";
import { AppError } from "../core/errors.ts";
import { adminBodyBytesMax, drainMsMax, modelNameCharsMax, swapDrainMsMax } from "../core/limits.ts";
import type { ChatEngine } from "../core/ports.ts";
import { readJsonBody } from "../http/json-body.ts";
import { metricsContentType, renderEngineMetrics } from "./metrics.ts";
import type { LoadForecast } from "./registry.ts";
import type { ModelStatus } from "./registry-entry.ts";
import { reportEngine } from "./status.ts";

/** The part of the registry that operators drive. */
export interface EngineControl extends ChatEngine {
  readonly draining: boolean;
  status(): ModelStatus[];
  plan(name: string): Promise<LoadForecast>;
  load(name: string, options: { pinned?: boolean }): Promise<ModelStatus>;
  unload(name: string, options: { drainMs?: number }): Promise<void>;
  setDraining(draining: boolean): void;
}

const name = z.string().min(1).max(modelNameCharsMax);
const loadSchema = z.strictObject({ model: name, pinned: z.boolean().optional() });
const unloadSchema = z.strictObject({ model: name, drainMs: z.number().int().min(0).max(swapDrainMsMax).optional() });
const drainSchema = z.strictObject({ draining: z.boolean() });

/**
 * @param mayLook lets those through who may see the engine's state
 * @param mayDrive lets those through who may change it
 */
export function addAdminRoutes(
  app: Hono,
  control: EngineControl,
  { mayLook, mayDrive }: { mayLook: MiddlewareHandler; mayDrive: MiddlewareHandler },
): void {
  app.get("/status", mayLook, async (context) => {
    return context.json(reportEngine(await control.health(), control.draining, control.status()), 200, noStore);
  });
  app.get("/metrics", mayLook, async () => {
    const text = renderEngineMetrics(await control.health(), control.status());
    return new Response(text, { headers: { ...noStore, "content-type": metricsContentType } });
  });
  app.get("/plan", mayLook, async (context) => {
    const model = name.safeParse(context.req.query("model")).data;
    if (model === undefined) throw new AppError("invalid_request", "Ask as /plan?model=NAME.", { param: "model" });
    return context.json(await control.plan(model), 200, noStore);
  });
  app.post("/admin/load", mayDrive, async (context) => {
    const { model, pinned } = await readBody(context.req.raw, loadSchema);
    const loaded = await control.load(model, pinned === undefined ? {} : { pinned });
    return context.json(reportEngine(await control.health(), control.draining, [loaded]).models[0]);
  });
  app.post("/admin/unload", mayDrive, async (context) => {
    const { model, drainMs = drainMsMax } = await readBody(context.req.raw, unloadSchema);
    await control.unload(model, { drainMs });
    return context.json({ model, unloaded: true });
  });
  app.post("/admin/drain", mayDrive, async (context) => {
    const { draining } = await readBody(context.req.raw, drainSchema);
    control.setDraining(draining);
    const { active, queued } = await control.health();
    return context.json({ draining, active, queued });
  });
}

const noStore = { "cache-control": "no-store" };

async function readBody<T extends z.ZodType>(request: Request, schema: T): Promise<z.infer<T>> {
  const parsed = schema.safeParse(await readJsonBody(request, adminBodyBytesMax));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const param = issue?.path.join(".") || "body";
  throw new AppError("invalid_request", `${param}: ${issue?.message ?? "not understood"}.`, { param });
}
