/** Work that a host may do once at its start instead of in its first answers. */
import { answerQuery } from "./answer.ts";
import { parseQuery } from "./query.ts";

/** One of each kind of question: what they need in common is then built, and the code they run compiled. */
const usual = ["13b 6gb", "70b", "qwen3-30b-a3b 8gb + 32gb ram"];

/**
 * Builds the tables of names, models and mixes and lays out the usual shapes. For hosts that count CPU time per request
 * and not at start, such as Workers; takes some hundred milliseconds.
 */
export function prepareAnswers(): void {
  for (const question of usual) answerQuery(parseQuery(question));
}
