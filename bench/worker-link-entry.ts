/** The Worker with counters: objects made and woken, statements and rows of D1; and a door for more engines than an API takes. */
import type { D1Binding, D1Statement } from "../src/entries/d1.ts";
import worker, { EngineLink as Link, type WorkerEnvironment } from "../src/entries/worker.ts";
import type { ObjectState, ServerSocket } from "../src/entries/workers-runtime.ts";

export { KeyQuota } from "../src/entries/worker.ts";

const counts = { made: 0, messages: 0, requests: 0, statements: 0, rowsRead: 0, rowsWritten: 0 };

interface Counted {
  results: Record<string, unknown>[];
  meta: { rows_read: number; rows_written: number };
}
interface FullStatement extends D1Statement {
  all(): Promise<Counted>;
  bind(...params: unknown[]): FullStatement;
}

function note({ results, meta }: Counted): Record<string, unknown>[] {
  counts.statements++;
  counts.rowsRead += meta.rows_read;
  counts.rowsWritten += meta.rows_written;
  return results;
}

/** The rows a statement costs stand beside its results, which `raw` leaves out. */
function counting(binding: D1Binding): D1Binding {
  const inner = new WeakMap<D1Statement, FullStatement>();
  const wrap = (statement: FullStatement): D1Statement => {
    const wrapped: D1Statement = {
      bind: (...params) => wrap(statement.bind(...params)),
      raw: async () => note(await statement.all()).map((row) => Object.values(row)),
    };
    inner.set(wrapped, statement);
    return wrapped;
  };
  return {
    prepare: (sql) => wrap(binding.prepare(sql) as FullStatement),
    async batch(statements) {
      const results = await binding.batch(statements.map((statement) => inner.get(statement)!));
      for (const result of results) note(result as Counted);
      return results;
    },
  };
}

/** One for each isolate, as the Worker keeps an app for each environment object. */
const environments = new WeakMap<WorkerEnvironment, WorkerEnvironment>();

function counted(environment: WorkerEnvironment): WorkerEnvironment {
  let known = environments.get(environment);
  if (known === undefined) {
    known = { ...environment, DB: counting(environment.DB) };
    environments.set(environment, known);
  }
  return known;
}

export class EngineLink extends Link {
  constructor(state: ObjectState, environment: WorkerEnvironment) {
    super(state, counted(environment));
    counts.made++;
  }

  override fetch(request: Request): Promise<Response> {
    counts.requests++;
    return super.fetch(request);
  }

  override webSocketMessage(socket: ServerSocket, message: string | ArrayBuffer): void {
    counts.messages++;
    super.webSocketMessage(socket, message);
  }
}

/** So much work that is the same every time: what it costs is known, so the profiler's samples of it are a measure. */
function spin(): number {
  let value = 1;
  for (let turn = 0; turn < 200_000; turn++) value = (value * 1_103_515_245 + 12_345) % 2_147_483_648;
  return value;
}

type Context = Parameters<typeof worker.fetch>[2];

export default {
  ...worker,
  async fetch(request: Request, environment: WorkerEnvironment, context: Context): Promise<Response> {
    const url = new URL(request.url);
    if (url.pathname === "/bench/counts") return Response.json(counts);
    if (url.pathname === "/bench/spin") return Response.json(spin());
    if (url.pathname === "/bench/link") {
      const { ENGINE_LINK: links } = environment;
      const name = url.searchParams.get("engine") ?? "";
      const init = { headers: { upgrade: "websocket" } };
      return await links.get(links.idFromName(name)).fetch(`http://link/connect?engine=${name}&key=bench`, init);
    }
    return await worker.fetch(request, counted(environment), context);
  },
};
