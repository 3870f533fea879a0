/** One result instead of a stream, through the router: the same choice, the same wait, another engine when one fails. */
import type { ChatEvent, ChatRequest, Producer } from "../core/chat.ts";
import { AppError, type ErrorCode, toAppError } from "../core/errors.ts";
import { engineTriesMax } from "../core/limits.ts";
import type { ChatEngine } from "../core/ports.ts";
import type { EngineMember } from "./router-member.ts";

export interface Choice {
  member: EngineMember;
  model: string;
}

/** The router's ways, as streams use them. */
export interface AskOptions {
  members(): Promise<EngineMember[]>;
  /** The engine that gets everything unlooked at. */
  loneOf(found: readonly EngineMember[], model: string): EngineMember | undefined;
  freshen(found: readonly EngineMember[]): Promise<void>;
  choose(request: ChatRequest, tried: ReadonlySet<EngineMember>): Choice | undefined;
  take(choice: Choice | undefined): Choice | undefined;
  giveBack(choice: Choice): void;
  /** No engine is left that could ever answer. */
  isHopeless(request: ChatRequest, tried: ReadonlySet<EngineMember>): boolean;
  /** Yields what a stream would be told meanwhile. */
  wait(
    request: ChatRequest,
    tried: ReadonlySet<EngineMember>,
    signal: AbortSignal,
  ): AsyncGenerator<unknown, Choice | ChatEvent>;
  unavailable(request: ChatRequest, found: readonly EngineMember[]): ChatEvent;
  noEngine(): AppError;
  /** Failures that another engine may not have. */
  elsewhere: ReadonlySet<ErrorCode>;
}

type Asked = Pick<ChatRequest, "model" | "userId" | "terms">;

export function createAsk(router: AskOptions): Required<Pick<ChatEngine, "embed" | "rerank">> {
  async function ask<T extends { producer: Producer }>(
    request: Asked,
    signal: AbortSignal,
    run: (engine: ChatEngine, model: string) => Promise<T>,
  ): Promise<T> {
    const found = await router.members();
    if (found.length === 0) throw router.noEngine();
    const { model, userId, terms } = request;
    // Vectors leave no prefix behind, so there is no text to stick by.
    const route: ChatRequest = {
      model,
      messages: [],
      ...(userId === undefined ? {} : { userId }),
      ...(terms === undefined ? {} : { terms }),
    };
    const lone = router.loneOf(found, model);
    if (lone === undefined) await router.freshen(found);
    const tried = new Set<EngineMember>();
    let last: AppError | undefined;
    while (tried.size < engineTriesMax) {
      let choice = router.take(lone === undefined ? router.choose(route, tried) : { member: lone, model });
      if (choice === undefined) {
        if (router.isHopeless(route, tried)) break;
        choice = await placeIn(router.wait(route, tried, signal), last);
      }
      tried.add(choice.member);
      try {
        return await tryMember(choice, run);
      } catch (thrown) {
        last = toAppError(thrown);
        if (lone !== undefined || signal.aborted || !router.elsewhere.has(last.code)) throw last;
      } finally {
        router.giveBack(choice);
      }
    }
    throw last ?? errorIn(router.unavailable(route, found));
  }

  return {
    embed: (request, { signal }) =>
      ask(request, signal, async (engine, model) => {
        if (engine.embed === undefined) throw makesNone();
        return await engine.embed({ ...request, model }, { signal });
      }),
    rerank: (request, { signal }) =>
      ask(request, signal, async (engine, model) => {
        if (engine.rerank === undefined) throw makesNone();
        return await engine.rerank({ ...request, model }, { signal });
      }),
  };
}

async function tryMember<T extends { producer: Producer }>(
  { member, model }: Choice,
  run: (engine: ChatEngine, model: string) => Promise<T>,
): Promise<T> {
  // Many servers that chat make no vectors, each refusing in its own way: nothing is concluded from it about their chats.
  const result = await run(member.engine, model);
  return member.named ? { ...result, producer: { ...result.producer, engineId: member.name } } : result;
}

/** Waits without telling the place: there is no stream to tell it on. */
async function placeIn(
  waiting: AsyncGenerator<unknown, Choice | ChatEvent>,
  last: AppError | undefined,
): Promise<Choice> {
  for (;;) {
    const { done, value } = await waiting.next();
    if (done !== true) continue;
    if (!("type" in value)) return value;
    throw value.type === "error" ? (last ?? errorIn(value)) : new AppError("engine_unavailable", "Cancelled.");
  }
}

function errorIn(event: ChatEvent): AppError {
  if (event.type === "error") return AppError.fromFacts(event.error);
  throw new Error(`no error but ${event.type}`);
}

function makesNone(): AppError {
  return new AppError("model_not_found", "The engine only chats; it makes no embeddings and ranks nothing.", {
    param: "model",
  });
}
