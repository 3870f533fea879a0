/** The engines of a Worker: those with an address, and those that dialled in and are held by a Durable Object. */
import type { AnswerJob, JobEngine, JobReply } from "../api/hand-over.ts";
import { type LinkControl, linkUrlMark } from "../api/link-route.ts";
import { type ChatEvent, type ChatRequest, isTerminal } from "../core/chat.ts";
import { AppError, type ErrorFacts, toAppError } from "../core/errors.ts";
import { abortReportMsMax, healthMsMax } from "../core/limits.ts";
import type { ChatEngine, EngineHealth, EngineRecord, LinkFacts, ModelListing, UsageReceipt } from "../core/ports.ts";
import { createHttpEngine } from "../http/client.ts";
import { readEventLines } from "../http/event-lines.ts";
import type { LinkCall } from "../http/link-frames.ts";
import { fromVectorsResult } from "../http/link-vectors.ts";
import { clientClosedStatus, respondWithError } from "../http/server.ts";
import { refusedHeader } from "./worker-link.ts";
import { createPassage, type ObjectNamespace, type ObjectStub } from "./workers-runtime.ts";

const clock = { now: () => Date.now() };

/** @param inWorker reads answers of engines with an address in the Worker itself */
export function createWorkerEngines(links: ObjectNamespace, inWorker = false) {
  return ({ name, url, token }: Pick<EngineRecord, "name" | "url" | "token">): ChatEngine => {
    if (url === linkUrlMark) return createObjectEngine(name, links);
    const address: EngineAddress = { name, url, ...(token === undefined ? {} : { token }) };
    if (inWorker) return openAddress(address);
    // Reading an answer's tokens takes more time than a Worker has on the Free plan; an object has 30 s.
    // A stub belongs to the request it was made in, and engines outlive requests.
    return Object.assign(openAddress(address), {
      answerJob: (job: AnswerJob, signal: AbortSignal) =>
        answerThrough(linkObject(links, `${url} ${name}`), "/answer", { job, address }, job, signal),
    });
  };
}

export interface EngineAddress {
  name: string;
  url: string;
  token?: string;
}

export function openAddress({ name, url, token }: EngineAddress): ChatEngine {
  return createHttpEngine({
    baseUrl: url,
    engineId: name,
    clock,
    // The runtime's fetch must be called as a plain function, and tests may replace it.
    fetch: (input, init) => fetch(input, init),
    ...(token === undefined ? {} : { token }),
  });
}

/** The body goes to the client as it comes. Never rejects. */
async function answerThrough(
  object: ObjectStub,
  path: string,
  body: { job: AnswerJob; address?: EngineAddress },
  job: AnswerJob,
  signal: AbortSignal,
): Promise<JobReply> {
  let reply: Response;
  try {
    reply = await object.fetch(`http://link${path}`, { method: "POST", body: JSON.stringify(body), signal });
  } catch (cause) {
    const error = new AppError("engine_unavailable", "The engine cannot be reached; please try again.", { cause });
    return neverBegun(job, signal.aborted, error);
  }
  const headers = new Headers(reply.headers);
  const init = { status: reply.status, headers };
  const told = reply.headers.get(refusedHeader);
  if (told !== null) {
    headers.delete(refusedHeader);
    const refused = JSON.parse(decodeURIComponent(told)) as NonNullable<JobReply["refused"]>;
    return { response: new Response(await reply.text(), init), ended: Promise.resolve(), refused };
  }
  if (reply.body === null) return { response: new Response(null, init), ended: Promise.resolve() };
  const { readable, writable } = createPassage();
  // A client that leaves breaks the passage, and that cancels the body at its source.
  const ended = reply.body.pipeTo(writable).catch(() => {});
  return { response: new Response(readable, init), ended };
}

/** An object that cannot be reached now looks at the keys itself, with the next look at its engine. */
export function createLinkControl(links: ObjectNamespace): LinkControl {
  const tell = async (name: string, path: string): Promise<void> => {
    const url = `http://link${path}?engine=${encodeURIComponent(name)}`;
    const { ok, status } = await linkObject(links, name).fetch(url, { method: "POST" });
    if (!ok) throw new AppError("engine_unavailable", `The engine's link answered ${status}.`);
  };
  return {
    remove: (name) => tell(name, "/remove"),
    checkKeys: async (names) => void (await Promise.allSettled(names.map((name) => tell(name, "/keys")))),
  };
}

export function linkObject(links: ObjectNamespace, name: string): ObjectStub {
  return links.get(links.idFromName(name));
}

/** An engine whose link a Durable Object holds. */
export function createObjectEngine(name: string, links: ObjectNamespace): JobEngine {
  const post = (path: string, body: unknown, signal: AbortSignal): Promise<Response> =>
    linkObject(links, name)
      .fetch(`http://link${path}?engine=${encodeURIComponent(name)}`, {
        method: "POST",
        body: JSON.stringify(body),
        signal,
      })
      .catch((cause) => {
        throw new AppError("engine_unavailable", "The engine's link cannot be reached; please try again.", { cause });
      });

  const state = async (): Promise<{ health: EngineHealth; models: ModelListing[]; facts?: LinkFacts }> =>
    await readReply(await post("/state", {}, AbortSignal.timeout(healthMsMax)));

  const call = async (asked: LinkCall, signal: AbortSignal): Promise<unknown> =>
    await readReply(await post("/call", asked, signal));

  /** An abort is told beside the answer, whose last line then holds what the engine counted. */
  async function* chat(request: ChatRequest, signal: AbortSignal): AsyncGenerator<ChatEvent, void> {
    if (signal.aborted) return yield cancelled;
    const id = crypto.randomUUID();
    const giveUp = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const leave = () => {
      timer = setTimeout(() => giveUp.abort(), abortReportMsMax);
      void post("/cancel", { id }, giveUp.signal).catch(() => giveUp.abort());
    };
    signal.addEventListener("abort", leave, { once: true });
    try {
      const reply = await post("/chat", { id, request }, giveUp.signal);
      if (!reply.ok || reply.body === null) throw await errorOf(reply);
      for await (const event of readEventLines(reply.body)) {
        yield event;
        if (isTerminal(event)) return;
      }
      throw new AppError("engine_unavailable", "The engine's answer broke off before its end; please try again.");
    } catch (thrown) {
      yield signal.aborted ? cancelled : { type: "error", error: broken(thrown).toFacts() };
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", leave);
    }
  }

  const answerJob = (job: AnswerJob, signal: AbortSignal) =>
    answerThrough(linkObject(links, name), `/answer?engine=${encodeURIComponent(name)}`, { job }, job, signal);

  return {
    answerJob,
    chat: (request, { signal }) => chat(request, signal),
    models: async () => (await state()).models,
    health: async () => (await state()).health,
    facts: async () => (await state()).facts,
    embed: async (request, { signal }) => fromVectorsResult(await call({ method: "embed", request }, signal)),
    rerank: async (request, { signal }) => (await call({ method: "rerank", request }, signal)) as never,
    operate: async (request) =>
      (await call({ method: "operate", request }, AbortSignal.timeout(operateMsMax))) as Record<string, unknown>,
  };
}

const operateMsMax = 240_000;
const cancelled: ChatEvent = { type: "cancelled", usage: {}, timings: {} };

async function readReply<T>(reply: Response): Promise<T> {
  if (!reply.ok) throw await errorOf(reply);
  return (await reply.json()) as T;
}

async function errorOf(reply: Response): Promise<AppError> {
  const { error } = (await reply.json()) as { error: ErrorFacts };
  return AppError.fromFacts(error);
}

function neverBegun({ admission, call, requestId }: AnswerJob, aborted: boolean, error: AppError): JobReply {
  const response = aborted ? new Response(null, { status: clientClosedStatus }) : respondWithError(error, requestId);
  const receipt: UsageReceipt = {
    id: admission.id,
    model: call.request.model,
    usage: {},
    timings: { totalMs: clock.now() - admission.at },
    aborted,
    ...(aborted ? {} : { errorCode: error.code }),
  };
  return { response, ended: Promise.resolve(), refused: { error: error.toFacts(), receipt } };
}

function broken(thrown: unknown): AppError {
  if (thrown instanceof AppError) return thrown;
  return new AppError("engine_unavailable", "The engine's answer broke off before its end; please try again.", {
    cause: toAppError(thrown),
  });
}
