/** Comparisons of precisions as jobs of an engine: begun, followed and cancelled by keys with that scope. */
import { type Context, Hono } from "hono";
import * as z from "zod";
import { AppError, toAppError } from "../core/errors.ts";
import { compareBodyBytesMax, compareLookMs } from "../core/limits.ts";
import type { CompareEvent, CompareJob } from "../fit/compare-report.ts";
import { parseCompareRequest } from "../fit/compare-report.ts";
import { readJsonBody } from "../http/json-body.ts";
import { renderSseComment, renderSseEvent } from "../http/sse.ts";
import type { EngineDesk } from "./engines.ts";

const engineSchema = z.string("must be an engine's name").regex(/^[\w.-]{1,64}$/, "must be an engine's name");

/** For keys with the scope alone; the caller sees to that. */
export function createCompareRoutes(desk: EngineDesk, lookMs = compareLookMs): Hono {
  const app = new Hono();
  app.post("/v1/compare", async (context) => {
    const { engine, request } = readRequest(await readJsonBody(context.req.raw, compareBodyBytesMax));
    const name = engine ?? (await engineThatMeasures(desk));
    return context.json(named(await desk.operate(name, { verb: "compare", request }), name), 202, noStore);
  });
  app.get("/v1/compare/:id", async (context) => {
    const { engine, id } = splitId(context.req.param("id"));
    const look = async () => named(await desk.operate(engine, { verb: "comparison", id }), engine);
    if (!wantsEvents(context)) return context.json(await look(), 200, noStore);
    // A job that is not there is an answer of its own, and no stream.
    return followJob(await look(), look, lookMs);
  });
  app.delete("/v1/compare/:id", async (context) => {
    const { engine, id } = splitId(context.req.param("id"));
    return context.json(named(await desk.operate(engine, { verb: "cancel_comparison", id }), engine), 200, noStore);
  });
  return app;
}

const noStore = { "cache-control": "no-store" };

function readRequest(body: unknown): { engine: string | undefined; request: Record<string, unknown> } {
  if (typeof body !== "object" || body === null || Array.isArray(body)) {
    throw new AppError("invalid_request", "body must be a JSON object.", { param: "body" });
  }
  const { engine, ...request } = body as Record<string, unknown>;
  const checked = engineSchema.optional().safeParse(engine);
  if (!checked.success) throw new AppError("invalid_request", "engine must be an engine's name.", { param: "engine" });
  return { engine: checked.data, request: { ...parseCompareRequest(request) } };
}

/** The first one that answers and is ours. */
async function engineThatMeasures(desk: EngineDesk): Promise<string> {
  const engines = await desk.list();
  const ready = engines.find(({ state, assumed, draining }) => state === "ready" && assumed !== true && !draining);
  const engine = ready ?? engines[0];
  if (engine === undefined) throw new AppError("engine_unavailable", "There is no engine to measure on.");
  return engine.name;
}

/** Jobs are told apart over all engines by the engine's name before their id. */
function named(job: Record<string, unknown>, engine: string): CompareJob & { engine: string } {
  // The engine's own route made it.
  const view = job as unknown as CompareJob;
  return { ...view, id: `${engine}:${view.id}`, engine };
}

function splitId(text: string): { engine: string; id: string } {
  const [, engine, id] = /^([\w.-]{1,64}):([\w-]{1,64})$/.exec(text) ?? [];
  if (engine !== undefined && id !== undefined) return { engine, id };
  throw new AppError("not_found", `There is no comparison ${text.slice(0, 100)}.`);
}

function wantsEvents(context: Context): boolean {
  return /\btext\/event-stream\b/.test(context.req.header("accept") ?? "");
}

/** Events until the job ends; engines are asked anew each time, wherever they are. */
function followJob(first: CompareJob, look: () => Promise<CompareJob>, lookMs: number): Response {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let told = "";
  const encoder = new TextEncoder();
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      const tell = (job: CompareJob) => {
        const event = eventOf(job);
        const text = event === undefined ? "" : JSON.stringify(event);
        const item = text === "" || text === told ? renderSseComment("running") : renderSseEvent(text);
        told = text;
        controller.enqueue(encoder.encode(item));
        if (job.state !== "running") return controller.close();
        timer = setTimeout(() => void next(), lookMs);
      };
      const next = async () => {
        try {
          tell(await look());
        } catch (thrown) {
          const event: CompareEvent = { type: "error", error: toAppError(thrown).toFacts() };
          controller.enqueue(encoder.encode(renderSseEvent(JSON.stringify(event))));
          controller.close();
        }
      };
      tell(first);
    },
    cancel() {
      clearTimeout(timer);
    },
  });
  return new Response(stream, { headers: { ...noStore, "content-type": "text/event-stream; charset=utf-8" } });
}

function eventOf({ state, progress, report, error }: CompareJob): CompareEvent | undefined {
  if (state === "cancelled") return { type: "cancelled" };
  if (report !== undefined) return { type: "report", report };
  if (error !== undefined) return { type: "error", error };
  return progress === undefined ? undefined : { type: "progress", ...progress };
}
