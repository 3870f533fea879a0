/** Which engine a conversation belongs to, without remembering any: the highest score of all engines. */
import type { ChatRequest } from "../core/chat.ts";

/** The beginning of a conversation tells it from others; the rest grows with every turn. */
const charsLookedAt = 2000;

/**
 * Weighted rendezvous hashing: when an engine comes or goes, only its own conversations move, and a heavier one gets
 * its share more of them (J. Schindelhauer and G. Schomaker, "Weighted distributed hash tables", 2005).
 */
export function conversationScore(request: ChatRequest, engine: { name: string; weight: number }): number {
  const head = [request.userId ?? "", (request.prompt ?? "").slice(0, charsLookedAt)];
  for (const message of request.messages) {
    head.push(message.content.slice(0, charsLookedAt));
    if (message.role === "user") break;
  }
  const share = (hash(`${engine.name}\0${request.model}\0${head.join("\0")}`) + 0.5) / 2 ** 32;
  return -engine.weight / Math.log(share);
}

/** FNV-1a over UTF-16 units, with a last mix: FNV alone leaves its high bits too alike for similar texts. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
  return (value ^ (value >>> 16)) >>> 0;
}
