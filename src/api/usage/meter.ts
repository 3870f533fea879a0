/** Watches an answer go by and completes its ledger row, however it ends. */
import { batchesOf, fromBatches } from "../../core/batches.ts";
import { type ChatEvent, isDelta, isTerminal, type TerminalChatEvent, type Usage } from "../../core/chat.ts";
import { type DeltaRelay, watchRelay } from "../../core/delta-relay.ts";
import { type ErrorCode, toAppError } from "../../core/errors.ts";
import { abortReportMsMax, usageNoteMs } from "../../core/limits.ts";
import type { Clock, Logger, UsageReceipt, UsageStore } from "../../core/ports.ts";

export interface MeterOptions {
  /** The admitted row. */
  id: string;
  /** When the request was admitted, milliseconds since the epoch. */
  at: number;
  store: Pick<UsageStore, "settle"> & Partial<Pick<UsageStore, "note">>;
  clock: Clock;
  logger: Logger;
  /** Aborts when the client leaves. */
  signal: AbortSignal;
  /** Where deltas may go past the events. */
  relay?: DeltaRelay;
  /** Sees every event as it passes. */
  onEvent?: (event: ChatEvent) => void;
  /** Hears of the receipt once it is written, before the last event is passed on. */
  onSettled?: (receipt: UsageReceipt) => void;
  /** How long an aborted engine may take to report; default `abortReportMsMax`. */
  abortReportMsMax?: number;
}

export interface MeteredChat {
  /** The same events. The last one is passed on once the row is complete, so that a client can read its own row. */
  events: AsyncIterable<ChatEvent>;
  /** Resolves when the row is complete; never rejects. */
  settled: Promise<void>;
}

/** @param ask begins the chat; its relay is the metered one */
export function meterChat(
  ask: (relay: DeltaRelay | undefined) => AsyncIterable<ChatEvent>,
  options: MeterOptions,
): MeteredChat {
  const tally = createTally(options);
  let receiptSent: Promise<void> | undefined;
  let announce = () => {};
  const settled = new Promise<void>((resolve) => {
    announce = resolve;
  });

  const send = async (receipt: UsageReceipt): Promise<void> => {
    try {
      await options.store.settle(receipt);
    } catch (cause) {
      options.logger.error("A usage row could not be completed.", { id: options.id, cause });
    }
    options.onSettled?.(receipt);
    announce();
  };
  const settle = (receipt: () => UsageReceipt): Promise<void> => {
    receiptSent ??= send(receipt());
    return receiptSent;
  };

  // An engine that ignores the abort must not keep the row open.
  let timer: ReturnType<typeof setTimeout> | undefined;
  const giveUpSoon = () => {
    timer = setTimeout(() => settle(tally.abandoned), options.abortReportMsMax ?? abortReportMsMax);
  };
  options.signal.addEventListener("abort", giveUpSoon, { once: true });

  let notedAt = options.clock.now();
  const noteNowAndThen = () => {
    const now = options.clock.now();
    if (now - notedAt < usageNoteMs || receiptSent !== undefined) return;
    notedAt = now;
    // Should it fail, the receipt tells all of it again.
    options.store.note?.(tally.soFar()).catch(() => {});
  };

  const see = (event: ChatEvent) => {
    tally.note(event);
    if (isDelta(event)) noteNowAndThen();
    options.onEvent?.(event);
  };

  const ended = () => {
    options.signal.removeEventListener("abort", giveUpSoon);
    if (timer !== undefined) clearTimeout(timer);
  };
  const start = () => batchesOf(ask(watchRelay(options.relay, see)));
  return { events: fromBatches(passOn(start, { see, settle, tally, ended })), settled };
}

interface Passing {
  see(event: ChatEvent): void;
  settle(receipt: () => UsageReceipt): Promise<void>;
  tally: ReturnType<typeof createTally>;
  ended(): void;
}

/** Outside of its caller: a generator made anew for every answer brings a prototype of its own. */
async function* passOn(
  start: () => AsyncIterable<readonly ChatEvent[]>,
  { see, settle, tally, ended }: Passing,
): AsyncGenerator<readonly ChatEvent[], void> {
  try {
    for await (const batch of start()) {
      for (const event of batch) see(event);
      const last = batch.at(-1);
      const terminal = last !== undefined && isTerminal(last) ? last : undefined;
      if (terminal !== undefined) await settle(() => tally.ended(terminal));
      yield batch;
      if (terminal !== undefined) return;
    }
  } catch (thrown) {
    await settle(() => tally.failed(toAppError(thrown).code));
    throw thrown;
  } finally {
    ended();
    await settle(tally.abandoned);
  }
}

/** What is known so far, in the form of the receipt it would be. */
function createTally({ id, at, clock, signal }: MeterOptions) {
  let known: Partial<UsageReceipt> = {};
  let prompt: Usage = {};
  let tokensSeen = 0;
  let firstTokenAt: number | undefined;

  const receipt = (usage: Usage, more: Partial<UsageReceipt>): UsageReceipt => ({
    id,
    ...known,
    usage: { ...prompt, ...(tokensSeen > 0 ? { completionTokens: tokensSeen, estimated: true } : {}), ...usage },
    aborted: false,
    ...more,
    timings: {
      ...(firstTokenAt === undefined ? {} : { timeToFirstTokenMs: firstTokenAt - at }),
      totalMs: clock.now() - at,
      ...more.timings,
    },
  });

  return {
    note(event: ChatEvent): void {
      if (event.type === "start") {
        const { engineId, model, quantization } = event.producer;
        known = { model, ...(engineId === undefined ? {} : { engineId }) };
        if (quantization !== undefined) known.quantization = quantization;
        if (event.promptTokens !== undefined) prompt = { promptTokens: event.promptTokens };
        if (event.cachedPromptTokens !== undefined) prompt.cachedPromptTokens = event.cachedPromptTokens;
      }
      if (!isDelta(event)) return;
      tokensSeen += event.tokenCount ?? 1;
      firstTokenAt ??= clock.now();
    },
    ended(event: TerminalChatEvent): UsageReceipt {
      const { usage = {}, timings = {} } = event;
      const counts = usage.completionTokens === undefined ? usage : { estimated: false, ...usage };
      if (event.type === "finish") return receipt(counts, { timings, finishReason: event.finishReason });
      if (event.type === "cancelled") return receipt(counts, { timings, aborted: true });
      return receipt(counts, { timings, errorCode: event.error.code, aborted: signal.aborted });
    },
    soFar: (): UsageReceipt => receipt({}, {}),
    failed: (errorCode: ErrorCode): UsageReceipt => receipt({}, { errorCode, aborted: signal.aborted }),
    /** Nobody reads any more, or the engine does not answer the abort. */
    abandoned: (): UsageReceipt => receipt({}, { aborted: true }),
  };
}
