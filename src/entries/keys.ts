/** `snug keys`: works on the ledger's file itself, also while the server runs, and needs no key to do so. */
import { randomBytes } from "node:crypto";
import { createKeyStore } from "../api/key-store.ts";
import { issueKey, revokeKey, viewKey } from "../api/keys.ts";
import { type KeyCreateOptions, type KeyListOptions, renderKeys, toKeyRequest } from "../cli/keys.ts";
import type { Terminal } from "../cli/terminal.ts";
import type { KeyStore } from "../core/ports.ts";
import type { Settings } from "./settings.ts";
import { openSqlite } from "./sqlite.ts";

const clock = { now: () => Date.now() };

const texts = {
  en: {
    made: (id: string) => `Made ${id}. This is its secret; it is not shown again:`,
    none: "There are no keys yet; the first start makes one.",
    revoked: (id: string, name: string) => `Revoked ${id} (${name}).`,
  },
  zh: {
    made: (id: string) => `已创建 ${id}。密钥内容如下，之后不再显示：`,
    none: "还没有密钥；首次启动时会创建一个。",
    revoked: (id: string, name: string) => `已吊销 ${id}（${name}）。`,
  },
};

/** The secret alone goes to stdout, so that a script can take it from there. */
export async function createKey(options: KeyCreateOptions, settings: Settings, terminal: Terminal): Promise<number> {
  return withKeys(settings, async (store) => {
    const request = toKeyRequest(options, clock.now());
    const { key, secret } = await issueKey(store, request, { clock, randomBytes });
    if (options.json) terminal.print(JSON.stringify({ ...viewKey(key, clock.now()), secret }, null, 2));
    else {
      terminal.note(texts[terminal.locale].made(key.id));
      terminal.print(secret);
    }
    return 0;
  });
}

export async function listKeys(options: KeyListOptions, settings: Settings, terminal: Terminal): Promise<number> {
  return withKeys(settings, async (store) => {
    const keys = (await store.list()).map((key) => viewKey(key, clock.now()));
    if (options.json) terminal.print(JSON.stringify({ keys }, null, 2));
    else if (keys.length === 0) terminal.note(texts[terminal.locale].none);
    else terminal.print(renderKeys(keys, terminal));
    return 0;
  });
}

export async function revokeKeyById(id: string, settings: Settings, terminal: Terminal): Promise<number> {
  return withKeys(settings, async (store) => {
    const key = await revokeKey(store, id, clock.now());
    terminal.note(texts[terminal.locale].revoked(key.id, key.name));
    return 0;
  });
}

async function withKeys(settings: Settings, work: (store: KeyStore) => Promise<number>): Promise<number> {
  const database = openSqlite(settings.dataDir);
  try {
    return await work(createKeyStore(database));
  } finally {
    database.close();
  }
}
