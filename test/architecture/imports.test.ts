import { readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { describe, expect, it } from "vitest";

const root = resolve(import.meta.dirname, "../..");
const sourceRoot = join(root, "src");

/** Which rooms a room may import from; the room itself is always allowed. */
const allowedRooms: Record<string, string[]> = {
  entries: ["core", "fit", "http", "api", "engine", "bots", "cli"],
  api: ["http", "fit", "core"],
  engine: ["http", "fit", "core"],
  bots: ["fit", "core"],
  cli: ["fit", "core"],
  http: ["core"],
  fit: ["core"],
  core: [],
};

/** Packages with one importing room. */
const packageRooms: Record<string, string[]> = {
  "node-llama-cpp": ["engine"],
  "discord.js": ["bots"],
  "@slack/bolt": ["bots"],
  "better-sqlite3": ["entries"],
};

/** Rooms that run in Workers and so must not touch Node. */
const nodeFreeRooms = ["core", "fit", "http", "api", "bots"];
/** The only file of those rooms' borders that runs on Workers besides them. */
const workerEntry = "entries/worker.ts";

function filesBelow(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) return filesBelow(path);
    return /\.tsx?$/.test(path) ? [path] : [];
  });
}

interface Import {
  file: string;
  room: string;
  specifier: string;
}

/** Static and dynamic imports and re-exports, type-only ones included: a type ties rooms together just as well. */
function importsOf(path: string): Import[] {
  const text = readFileSync(path, "utf8").replace(/\/\*[\s\S]*?\*\//g, "");
  const pattern = /(?:\bfrom\s*|\bimport\s*\(\s*|\bimport\s+)["']([^"']+)["']/g;
  const file = relative(sourceRoot, path);
  return [...text.matchAll(pattern)].map((match) => ({ file, room: file.split("/")[0]!, specifier: match[1]! }));
}

const sourceFiles = filesBelow(sourceRoot).filter((path) => !/\.test\.tsx?$/.test(path));
const imports = sourceFiles.flatMap(importsOf);

function roomOfSpecifier({ file, specifier }: Import): string | undefined {
  if (!specifier.startsWith(".")) return undefined;
  return relative(sourceRoot, resolve(dirname(join(sourceRoot, file)), specifier)).split("/")[0];
}

describe("the import table", () => {
  it("sees the source", () => {
    expect(imports.length).toBeGreaterThan(20);
  });

  it("knows every room", () => {
    const rooms = new Set(sourceFiles.map((path) => relative(sourceRoot, path).split("/")[0]!));
    expect([...rooms].filter((room) => !(room in allowedRooms))).toEqual([]);
  });

  it("lets rooms import only in the allowed direction", () => {
    const wrong = imports.filter((one) => {
      const target = roomOfSpecifier(one);
      return target !== undefined && target !== one.room && !allowedRooms[one.room]!.includes(target);
    });
    expect(wrong).toEqual([]);
  });

  it("lets nobody import an entry", () => {
    expect(imports.filter((one) => roomOfSpecifier(one) === "entries" && one.room !== "entries")).toEqual([]);
  });

  it("keeps node: out of what runs on Workers", () => {
    const wrong = imports.filter(
      (one) => one.specifier.startsWith("node:") && (nodeFreeRooms.includes(one.room) || one.file === workerEntry),
    );
    expect(wrong).toEqual([]);
  });

  it("gives each heavy package one importing room", () => {
    const wrong = imports.filter((one) => {
      const owner = Object.keys(packageRooms).find(
        (name) => one.specifier === name || one.specifier.startsWith(`${name}/`),
      );
      return owner !== undefined && !packageRooms[owner]!.includes(one.room);
    });
    expect(wrong).toEqual([]);
  });

  it("imports node-llama-cpp in engine/llama*.ts alone, so that only the child process loads it", () => {
    const files = new Set(imports.filter((one) => one.specifier === "node-llama-cpp").map((one) => one.file));
    expect([...files].filter((file) => !/^engine\/llama[\w-]*\.ts$/.test(file))).toEqual([]);
  });

  it("takes zod as a namespace, which bundles to a fifth", () => {
    const wrong = sourceFiles.filter((path) =>
      /import\s*\{[^}]*\}\s*from\s*["']zod["']/.test(readFileSync(path, "utf8")),
    );
    expect(wrong).toEqual([]);
  });

  it("has no barrels and no drawers for odds and ends", () => {
    const wrong = filesBelow(sourceRoot).filter((path) =>
      /\/(index\.tsx?|utils\/.*|helpers\/.*|utils\.ts|helpers\.ts)$/.test(path),
    );
    expect(wrong).toEqual([]);
  });
});

describe("the Workers", () => {
  /** Type-only imports load nothing. */
  const loads = (path: string) =>
    [
      ...readFileSync(path, "utf8")
        .replace(/\/\*[\s\S]*?\*\//g, "")
        .matchAll(/(?:^|\n)(?:import|export) (?!type )[^;]*?["']([^"']+)["'];/g),
    ].map((match) => match[1]!);

  it("loads neither Node's modules nor the chat platforms' libraries, over any number of files", () => {
    const seen = new Set<string>();
    const wrong: string[] = [];
    const visit = (path: string) => {
      if (seen.has(path) || !path.endsWith(".ts")) return;
      seen.add(path);
      for (const specifier of loads(path)) {
        if (specifier.startsWith(".")) visit(resolve(dirname(path), specifier));
        else if (/^(node:|discord\.js|@slack\/|better-sqlite3|@resvg)/.test(specifier)) {
          wrong.push(`${relative(sourceRoot, path)} loads ${specifier}`);
        }
      }
    };
    visit(join(sourceRoot, workerEntry));
    visit(join(sourceRoot, "entries/edge-bots.ts"));
    expect(seen.size).toBeGreaterThan(100);
    expect([...seen].some((path) => path.includes("bots/slack"))).toBe(true);
    expect(wrong).toEqual([]);
  });
});

describe("purity", () => {
  const pureFiles = sourceFiles.filter((path) => /^(core|fit)\//.test(relative(sourceRoot, path)));

  it("keeps clocks, chance, console and environment out of core and fit", () => {
    const impure = /\b(Date\.now\(|new Date\(\)|Math\.random\(|console\.|process\.|performance\.now\()/;
    const code = (path: string) => readFileSync(path, "utf8").replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, "");
    expect(pureFiles.filter((path) => impure.test(code(path)))).toEqual([]);
  });
});
