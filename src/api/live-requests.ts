/** The chats being answered right now, for those who watch over the machine: what they are, and a way to end one. */

import { type ChatEvent, isDelta } from "../core/chat.ts";
import { AppError } from "../core/errors.ts";
import type { UsageAdmission } from "../core/ports.ts";

export interface LiveRequest extends UsageAdmission {
  state: "waiting" | "answering";
  engineId?: string;
  completionTokens: number;
}

export interface LiveEntry {
  /** Aborts when the client leaves or an administrator ends the request. */
  signal: AbortSignal;
  /** Sees an event of the answer pass. */
  note(event: ChatEvent): void;
  leave(): void;
}

export interface LiveRequests {
  /** @param signal aborts when the client leaves */
  enter(admission: UsageAdmission, signal: AbortSignal): LiveEntry;
  /** Oldest first. */
  list(): LiveRequest[];
  /** @throws AppError not_found */
  cancel(id: string): LiveRequest;
}

export function createLiveRequests(): LiveRequests {
  const live = new Map<string, { request: LiveRequest; controller: AbortController }>();
  return {
    enter(admission, signal) {
      const controller = new AbortController();
      if (signal.aborted) controller.abort();
      else signal.addEventListener("abort", () => controller.abort(), { once: true });
      const request: LiveRequest = { ...admission, state: "waiting", completionTokens: 0 };
      live.set(admission.id, { request, controller });
      return {
        signal: controller.signal,
        note: (event) => note(request, event),
        leave: () => void live.delete(admission.id),
      };
    },
    list: () => [...live.values()].map(({ request }) => request),
    cancel(id) {
      const found = live.get(id);
      if (found === undefined) {
        throw new AppError("not_found", `No request ${id.slice(0, 100)} is being answered; it may have ended.`);
      }
      found.controller.abort();
      return found.request;
    },
  };
}

function note(request: LiveRequest, event: ChatEvent): void {
  if (isDelta(event)) request.completionTokens += event.tokenCount ?? 1;
  if (event.type === "start") {
    request.state = "answering";
    if (event.producer.engineId !== undefined) request.engineId = event.producer.engineId;
    request.model = event.producer.model;
  }
}
