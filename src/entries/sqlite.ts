/** The ledger on SQLite. The only importer of better-sqlite3 and of its migrator. */
import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import SqliteFile from "better-sqlite3";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { migrate } from "drizzle-orm/better-sqlite3/migrator";
import type { Database, SqlStatement } from "../api/usage/database.ts";
import { AppError, toAppError } from "../core/errors.ts";
import { ledgerBusyMsMax, preparedStatementsMax } from "../core/limits.ts";

/** `migrations/` of the package, seen from `src/entries` and from `dist/entries` alike. */
const migrationsFolder = fileURLToPath(new URL("../../migrations", import.meta.url));

export interface SqliteDatabase extends Database {
  /** Writes the log back into the file; call it once the last request is settled. */
  close(): void;
}

/**
 * Opens the ledger in a data folder, which is made when absent, and brings its tables up to date.
 *
 * @throws AppError invalid_configuration when the folder cannot be written or the file is not a sound database
 */
export function openSqlite(dataFolder: string): SqliteDatabase {
  const path = join(dataFolder, "snug.db");
  let file: SqliteFile.Database | undefined;
  try {
    mkdirSync(dirname(path), { recursive: true });
    file = new SqliteFile(path);
    file.pragma(`busy_timeout = ${ledgerBusyMsMax}`);
    file.pragma("journal_mode = WAL");
    // With WAL a killed process loses nothing; only a power cut may lose the last moments.
    file.pragma("synchronous = NORMAL");
    // Writing the log back waits for the disk, and everybody waits with it: four times rarer than by default.
    file.pragma("wal_autocheckpoint = 4000");
    migrate(drizzle(file), { migrationsFolder });
    // A read-only file opens and reads well; the first request would be the first to notice.
    file.exec("BEGIN IMMEDIATE; ROLLBACK");
  } catch (thrown) {
    file?.close();
    throw openError(thrown, path);
  }
  return toDatabase(file);
}

function toDatabase(file: SqliteFile.Database): SqliteDatabase {
  const prepared = new Map<string, SqliteFile.Statement>();

  const prepare = (sql: string): SqliteFile.Statement => {
    const known = prepared.get(sql);
    if (known !== undefined) return known;
    if (prepared.size >= preparedStatementsMax) prepared.clear();
    const statement = file.prepare(sql);
    if (statement.reader) statement.raw(true);
    prepared.set(sql, statement);
    return statement;
  };

  const run = ({ sql, params }: SqlStatement): unknown[][] => {
    const statement = prepare(sql);
    if (statement.reader) return statement.all(...params) as unknown[][];
    statement.run(...params);
    return [];
  };

  const runAll = file.transaction((statements: SqlStatement[]) => statements.map(run));
  const runGroups = file.transaction((groups: SqlStatement[][]) => groups.map((group) => group.map(run)));

  /** One statement is a transaction of its own; a writer takes the lock at once, so that none fails half-way. */
  const runAlone = (statements: SqlStatement[]): unknown[][][] =>
    statements.length === 1 ? [run(statements[0]!)] : runAll.immediate(statements);

  let waiting: WaitingWrite[] = [];

  /** What was written in one turn of the event loop is one transaction: a commit costs more than its statements. */
  const flush = () => {
    const writes = waiting;
    if (writes.length === 0) return;
    waiting = [];
    try {
      const results = writes.length === 1 ? undefined : runGroups.immediate(writes.map((write) => write.statements));
      if (results === undefined) writes[0]!.resolve(runAlone(writes[0]!.statements));
      else for (const [place, write] of writes.entries()) write.resolve(results[place]!);
    } catch (thrown) {
      if (writes.length === 1) return writes[0]!.reject(runError(thrown));
      // One of them may be at fault, so each gets its own try.
      for (const write of writes) {
        try {
          write.resolve(runAlone(write.statements));
        } catch (own) {
          write.reject(runError(own));
        }
      }
    }
  };

  const isWrite = (statements: SqlStatement[]) => statements.every(({ sql }) => !prepare(sql).reader);

  return {
    async atomic(statements) {
      try {
        if (!isWrite(statements)) {
          // A reader sees everything that was written before it.
          flush();
          return runAlone(statements);
        }
      } catch (thrown) {
        throw runError(thrown);
      }
      return await new Promise<unknown[][][]>((resolve, reject) => {
        if (waiting.length === 0) setImmediate(flush);
        waiting.push({ statements, resolve, reject });
      });
    },
    close: () => {
      flush();
      file.close();
    },
  };
}

interface WaitingWrite {
  statements: SqlStatement[];
  resolve(rows: unknown[][][]): void;
  reject(error: AppError): void;
}

/** SQLite's result code ("SQLITE_CORRUPT") or the file system's ("EACCES"). */
function codeOf(thrown: unknown): string {
  const cause = thrown instanceof Error && thrown.cause instanceof Error ? thrown.cause : thrown;
  return cause instanceof Error && "code" in cause ? String(cause.code) : "";
}

/** What the `bindings` package throws when nothing was compiled. */
function isMissingBinding(cause: unknown): boolean {
  return cause instanceof Error && cause.message.startsWith("Could not locate the bindings file");
}

const damaged = /^SQLITE_(NOTADB|CORRUPT)/;
const unwritable = /^(SQLITE_(READONLY|CANTOPEN|PERM|IOERR|FULL)|EACCES|EPERM|EROFS|ENOTDIR|EEXIST|ENOENT|ENOSPC)/;

/** Loads the database library and throws AppError invalid_configuration where it does not run. */
export function checkSqlite(): void {
  try {
    new SqliteFile(":memory:").close();
  } catch (thrown) {
    throw openError(thrown, ":memory:");
  }
}

function openError(cause: unknown, path: string): AppError {
  const code = codeOf(cause);
  if (code === "ERR_DLOPEN_FAILED" || code === "MODULE_NOT_FOUND" || isMissingBinding(cause)) {
    const advice = "run: npm rebuild better-sqlite3 (with the Node you start Snug with)";
    return new AppError(
      "invalid_configuration",
      `The database library does not run on Node ${process.version}; ${advice}.`,
      {
        cause,
      },
    );
  }
  if (damaged.test(code)) {
    const advice = "move it away to start with an empty one, or put a backup in its place";
    return new AppError("invalid_configuration", `${path} is not a sound SQLite database; ${advice}.`, { cause });
  }
  if (unwritable.test(code)) {
    const advice = "make its folder writable, or set SNUG_DATA_DIR to one that is";
    return new AppError("invalid_configuration", `${path} cannot be written (${code}); ${advice}.`, { cause });
  }
  if (code.startsWith("SQLITE_BUSY")) {
    return new AppError("invalid_configuration", `${path} is held by another program; close it and start again.`, {
      cause,
    });
  }
  return toAppError(cause);
}

/** These messages reach clients, so they name no path. */
function runError(cause: unknown): AppError {
  const code = codeOf(cause);
  if (damaged.test(code)) {
    return new AppError("invalid_configuration", "The usage ledger is damaged; its file needs the administrator.", {
      cause,
    });
  }
  if (unwritable.test(code)) {
    return new AppError("invalid_configuration", "The usage ledger cannot be written; check the disk it is on.", {
      cause,
    });
  }
  return toAppError(cause);
}
