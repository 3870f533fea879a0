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
  /** Sees an event of the answer pass. */
  note(event: ChatEvent): void;
  leave(): void;
}

export interface LiveRequests {
  /** @param cancel called when an administrator ends the request */
  enter(admission: UsageAdmission, cancel: () => void): LiveEntry;
  /**
   * @param signal aborts when the client leaves
   * @returns also a signal that aborts then, and when an administrator ends the request
   */
  enterFor(admission: UsageAdmission, signal: AbortSignal): LiveEntry & { signal: AbortSignal };
  /** Oldest first. */
  list(): LiveRequest[];
  /** @throws AppError not_found */
  cancel(id: string): LiveRequest;
}

export function createLiveRequests(): LiveRequests {
  const live = new Map<string, { request: LiveRequest; cancel: () => void }>();
  return {
    enter(admission, cancel) {
      const request: LiveRequest = { ...admission, state: "waiting", completionTokens: 0 };
      live.set(admission.id, { request, cancel });
      return { note: (event) => note(request, event), leave: () => void live.delete(admission.id) };
    },
    enterFor(admission, signal) {
      const controller = new AbortController();
      if (signal.aborted) controller.abort();
      else signal.addEventListener("abort", () => controller.abort(), { once: true });
      return { ...this.enter(admission, () => controller.abort()), signal: controller.signal };
    },
    list: () => [...live.values()].map(({ request }) => request),
    cancel(id) {
      const found = live.get(id);
      if (found === undefined) {
        throw new AppError("not_found", `No request ${id.slice(0, 100)} is being answered; it may have ended.`);
      }
      found.cancel();
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
