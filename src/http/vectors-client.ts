/** Vectors and rankings from an engine elsewhere. */
import type { Producer } from "../core/chat.ts";
import { AppError } from "../core/errors.ts";
import { firstByteMsMax, vectorReplyBytesMax } from "../core/limits.ts";
import type { Clock } from "../core/ports.ts";
import type { Embeddings, EmbeddingsRequest, Ranking, RerankRequest } from "../core/vectors.ts";
import { readEmbeddings, renderEmbeddingsBody } from "./embeddings.ts";
import { connectionError, errorOfReply, parseJson } from "./engine-errors.ts";
import { readBytes } from "./json-body.ts";
import { readRanking, renderRerankBody } from "./rerank.ts";
import { renderTermsHeaders } from "./service-terms.ts";

/** What both requests have in common. */
type Asked = Pick<EmbeddingsRequest, "model" | "terms">;

type Reply = Parameters<typeof errorOfReply>[0] & { ok: boolean };

export interface VectorsClientOptions {
  /** Posts JSON to a path below the server's address. */
  post(path: string, headers: Record<string, string>, body: string, signal: AbortSignal): Promise<Reply>;
  engineId: string;
  clock: Clock;
  /** Request to answer, milliseconds; default `firstByteMsMax`. */
  answerMsMax?: number | undefined;
}

export function createVectorsClient(options: VectorsClientOptions) {
  const ask = async (path: string, request: Asked, body: object, signal: AbortSignal): Promise<unknown> => {
    const limit = AbortSignal.timeout(options.answerMsMax ?? firstByteMsMax);
    const either = AbortSignal.any([signal, limit]);
    try {
      const reply = await options.post(path, renderTermsHeaders(request.terms), JSON.stringify(body), either);
      if (!reply.ok) throw await errorOfReply(reply);
      const bytes = await readBytes(reply.body, vectorReplyBytesMax);
      if (bytes === undefined) throw new AppError("engine_unavailable", "The engine's answer is too large to read.");
      return parseJson(new TextDecoder().decode(bytes));
    } catch (thrown) {
      if (signal.aborted) throw new AppError("engine_unavailable", "The request was cancelled.", { cause: thrown });
      if (limit.aborted) throw new AppError("engine_timeout", "The engine did not answer in time.", { cause: thrown });
      throw thrown instanceof AppError ? thrown : connectionError(thrown);
    }
  };
  const timed = async <T extends object>(work: () => Promise<T>) => {
    const startedAt = options.clock.now();
    const answer = await work();
    return { ...answer, timings: { totalMs: options.clock.now() - startedAt } };
  };
  const fallback = ({ model }: Asked): Producer => ({ model, engineId: options.engineId });

  return {
    embed: (request: EmbeddingsRequest, { signal }: { signal: AbortSignal }): Promise<Embeddings> =>
      timed(async () => {
        const body = await ask("/v1/embeddings", request, renderEmbeddingsBody(request), signal);
        return readEmbeddings(body, request, fallback(request));
      }),
    rerank: (request: RerankRequest, { signal }: { signal: AbortSignal }): Promise<Ranking> =>
      timed(async () => {
        const body = await ask("/v1/rerank", request, renderRerankBody(request), signal);
        return readRanking(body, request, fallback(request));
      }),
  };
}
