/** The chats being answered right now, for those who watch over the machine: what they are, and a way to end one. */

import { type ChatEvent, isDelta } from "../core/chat.ts";
import { AppError } from "../core/errors.ts";
import type { UsageAdmission } from "../core/ports.ts";

export interface LiveRequest extends UsageAdmission {
  state: "waiting" | "answering";
  engineId?: string;
  completionTokens: number;
}

export interface LiveRequests {
  /**
   * @param signal aborts when the client leaves
   * @returns a signal that also aborts when an administrator ends the request
   */
  enter(admission: UsageAdmission, signal: AbortSignal): AbortSignal;
  /** Sees an event of the answer pass. */
  note(id: string, event: ChatEvent): void;
  leave(id: string): void;
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
      live.set(admission.id, { request: { ...admission, state: "waiting", completionTokens: 0 }, controller });
      return controller.signal;
    },
    note(id, event) {
      const request = live.get(id)?.request;
      if (request !== undefined) note(request, event);
    },
    leave: (id) => void live.delete(id),
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
  if (event.type === "start") {
    request.state = "answering";
    if (event.producer.engineId !== undefined) request.engineId = event.producer.engineId;
    request.model = event.producer.model;
  }
  if (isDelta(event)) request.completionTokens += event.tokenCount ?? 1;
}
