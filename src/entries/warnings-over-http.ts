/** What is wrong with the machines behind an API, as far as its key may ask. */
import * as z from "zod";
import type { BotWarning } from "../bots/warnings.ts";
import { reachMsMax, warningsMax } from "../core/limits.ts";
import type { ApiAccess } from "./usage-over-http.ts";

const sentence = z.string().max(1000);
const warningsSchema = z.object({
  warnings: z
    .array(
      z.object({
        engine: z.string().max(100),
        id: z.string().max(200),
        since: z.number(),
        text: z.object({ en: sentence, zh: sentence }),
      }),
    )
    .max(100 * warningsMax),
});

/** Rejects when the API does not answer: nobody waits for a warning. */
export async function readWarnings({ url, key }: ApiAccess): Promise<BotWarning[]> {
  const reply = await fetch(`${url.replace(/\/+$/, "")}/v1/warnings`, {
    headers: { authorization: `Bearer ${key}` },
    signal: AbortSignal.timeout(reachMsMax),
  });
  if (!reply.ok) throw new Error(`The API answered ${reply.status} to a question about warnings.`);
  return warningsSchema.parse(await reply.json()).warnings;
}
