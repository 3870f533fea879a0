import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import SqliteFile from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { describeUsageStore } from "../../test/contract/usage-store.ts";
import { createUsageStore } from "../api/usage/store.ts";
import { AppError } from "../core/errors.ts";
import { openSqlite, type SqliteDatabase } from "./sqlite.ts";

let folder: string;
let opened: SqliteDatabase[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "snug-ledger-"));
});

afterEach(() => {
  for (const database of opened) database.close();
  opened = [];
  rmSync(folder, { recursive: true, force: true });
});

function open(path = folder): SqliteDatabase {
  const database = openSqlite(path);
  opened.push(database);
  return database;
}

function openError(path = folder): AppError {
  try {
    open(path);
  } catch (thrown) {
    if (thrown instanceof AppError) return thrown;
    throw thrown;
  }
  throw new Error("was opened");
}

const admission = { id: "a", at: 1, keyId: "k", source: "api", model: "m", stream: true } as const;

describeUsageStore("SQLite", async () => open());

describe("the ledger file", () => {
  it("is made with its folders, in WAL mode", () => {
    const nested = join(folder, "deep", "er");
    open(nested);
    const file = new SqliteFile(join(nested, "snug.db"), { readonly: true });
    expect(file.pragma("journal_mode", { simple: true })).toBe("wal");
    file.close();
  });

  it("keeps its rows when it is opened again, even by a second process before the first has closed", async () => {
    await createUsageStore(open()).admit(admission);
    expect(await createUsageStore(open()).rows({})).toHaveLength(1);
  });

  it("that is damaged is refused with what to do", () => {
    writeFileSync(join(folder, "snug.db"), "This is no database. ".repeat(500));
    const error = openError();
    expect(error.code).toBe("invalid_configuration");
    expect(error.message).toMatch(/not a sound SQLite database; move it away/);
  });

  it("that is damaged inside is refused or fails with a clear error, never with rows made up", async () => {
    const database = open();
    const store = createUsageStore(database);
    for (let index = 0; index < 200; index++) await store.admit({ ...admission, id: `a${index}` });
    database.close();
    opened = [];
    const path = join(folder, "snug.db");
    const pages = 4096 * 3;
    const file = new SqliteFile(path);
    file.pragma("wal_checkpoint(TRUNCATE)");
    file.close();
    const bytes = readFileSync(path);
    bytes.fill(0xff, 4096, 4096 + pages);
    writeFileSync(path, bytes);
    const outcome = async () => createUsageStore(open()).rows({});
    await expect(outcome()).rejects.toMatchObject({ code: "invalid_configuration" });
  });

  it("below something that is not a folder is refused with what to do", () => {
    writeFileSync(join(folder, "file"), "");
    const error = openError(join(folder, "file"));
    expect(error.code).toBe("invalid_configuration");
    expect(error.message).toMatch(/cannot be written \((EEXIST|ENOTDIR)\); make its folder writable/);
  });

  it("in a read-only folder is refused with what to do", () => {
    chmodSync(folder, 0o500);
    asOrdinaryUser(() => {
      const error = openError();
      expect(error.code).toBe("invalid_configuration");
      expect(error.message).toMatch(/cannot be written \((SQLITE_CANTOPEN|SQLITE_READONLY)\w*\); make its folder/);
    });
  });

  it("that is read-only itself is refused at start, not at the first request", () => {
    open().close();
    opened = [];
    chmodSync(join(folder, "snug.db"), 0o444);
    chmodSync(folder, 0o555);
    asOrdinaryUser(() => expect(openError().message).toMatch(/cannot be written/));
  });
});

/** Permissions do not bind root, as whom containers often run tests. */
function asOrdinaryUser(action: () => void): void {
  const isRoot = process.geteuid?.() === 0;
  if (isRoot) process.seteuid?.("nobody");
  try {
    action();
  } finally {
    if (isRoot) process.seteuid?.(0);
  }
}
