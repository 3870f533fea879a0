/** Keys that were shown a moment ago. Hashing and looking up a key costs more than the rest of most requests. */
import { keyAgeMsMax, recentKeysMax } from "../core/limits.ts";
import type { ApiKey, Clock, KeyStore } from "../core/ports.ts";

export interface RecentKeys {
  /** @param look finds a key that is not remembered; only found ones are, or guesses would fill the memory */
  find(secret: string, look: () => Promise<ApiKey | undefined>): Promise<ApiKey | undefined>;
  /** The same store; revoking a key there ends its remembrance here. What other processes revoke ends with its age. */
  guard(store: KeyStore): KeyStore;
}

export function createRecentKeys(clock: Clock): RecentKeys {
  const seen = new Map<string, { key: ApiKey; at: number }>();
  return {
    async find(secret, look) {
      const known = seen.get(secret);
      if (known !== undefined && clock.now() - known.at < keyAgeMsMax) return known.key;
      seen.delete(secret);
      const at = clock.now();
      const key = await look();
      if (key === undefined) return undefined;
      if (seen.size >= recentKeysMax) seen.clear();
      seen.set(secret, { key, at });
      return key;
    },
    guard: (store) => ({
      ...store,
      async revoke(id, at) {
        const revoked = await store.revoke(id, at);
        seen.clear();
        return revoked;
      },
    }),
  };
}
