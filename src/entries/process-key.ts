/** A key for a bot in the server's own process: as good as a stored one, but it ends with the process. */
import { createKey, createSecret, type KeyMaking } from "../api/auth.ts";
import type { ApiKey, KeyStore, QuotaLimits } from "../core/ports.ts";

export interface ProcessKey {
  /** The store with the key in front of it. */
  keyStore: KeyStore;
  secret: string;
}

/**
 * @param name also the key's id, so that the ledger knows the bot by one name over restarts
 * @param userLimits what each person behind the bot may ask
 */
export async function withProcessKey(
  store: KeyStore,
  name: string,
  userLimits: QuotaLimits,
  { clock, randomBytes }: KeyMaking,
): Promise<ProcessKey> {
  const secret = createSecret(randomBytes);
  const { hash: ownHash, ...made } = await createKey(secret, {
    name,
    scopes: ["chat", "fits", "usage", "compare"],
    createdAt: clock.now(),
    ...(Object.keys(userLimits).length === 0 ? {} : { userLimits }),
  });
  const key: ApiKey = { ...made, id: name };
  return {
    secret,
    keyStore: {
      ...store,
      findByHash: async (hash) => (hash === ownHash ? key : await store.findByHash(hash)),
      find: async (id) => (id === key.id ? key : await store.find(id)),
    },
  };
}
