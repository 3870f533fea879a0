/** Workers' logs take objects and make them searchable. */
import type { Logger } from "../core/ports.ts";

export const workerLogger: Logger = {
  debug: () => {},
  info: (message, facts) => console.log({ message, ...facts }),
  warn: (message, facts) => console.warn({ message, ...facts }),
  error: (message, facts = {}) =>
    console.error({ message, ...facts, cause: facts.cause instanceof Error ? facts.cause.stack : facts.cause }),
};
