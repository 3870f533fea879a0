/**
 * The Worker as its users run it locally: tables made by wrangler, served by `wrangler dev`, reached over real sockets
 * with an engine at an address. What a test inside workerd cannot show: a client that hangs up.
 */

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import OpenAI from "openai";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { docsFiles } from "../../src/api/docs-page.ts";
import { type Listening, serveEngine } from "../support/engine-server.ts";
import { FakeEngine, sayWords } from "../support/fake-engine.ts";

const root = join(import.meta.dirname, "../..");
const wrangler = join(root, "node_modules/wrangler/bin/wrangler.js");
const adminKey = "admin-key-of-the-dev-worker";

const environment = { ...process.env, CI: "1", WRANGLER_SEND_METRICS: "false", NO_COLOR: "1" };

let state: string;
let engine: FakeEngine;
let upstream: Listening;
let worker: ChildProcess;
let url: string;

beforeAll(async () => {
  state = mkdtempSync(join(tmpdir(), "snug-worker-"));
  engine = new FakeEngine({ models: [{ id: "fake", contextLength: 1_000_000, loaded: true }] });
  upstream = await serveEngine(engine);
  const arguments_ = ["d1", "migrations", "apply", "DB", "--local", "--persist-to", state];
  await promisify(execFile)(process.execPath, [wrangler, ...arguments_], { cwd: root, env: environment });
  const port = await freePort();
  url = `http://127.0.0.1:${port}`;
  worker = await startWorker(port);
}, 60_000);

afterAll(async () => {
  // wrangler stops its workerd when it is told to end; killed outright it would leave it behind, holding the port.
  const exited = new Promise((resolve) => worker.once("exit", resolve));
  worker.kill("SIGTERM");
  await exited;
  await upstream.close();
  rmSync(state, { recursive: true, force: true });
});

beforeEach(() => {
  engine.script = sayWords("Hello from the fake engine.");
  engine.cancelledCount = 0;
});

async function startWorker(port: number): Promise<ChildProcess> {
  const settings = { SNUG_ADMIN_KEY: adminKey, SNUG_ENGINE_URL: upstream.url };
  const child = spawn(
    process.execPath,
    [
      wrangler,
      ...[
        "dev",
        "--local",
        "--persist-to",
        state,
        "--ip",
        "127.0.0.1",
        "--port",
        String(port),
        "--inspector-port",
        "0",
      ],
      ...Object.entries(settings).flatMap(([name, value]) => ["--var", `${name}:${value}`]),
    ],
    { cwd: root, env: environment, stdio: ["ignore", "pipe", "pipe"] },
  );
  let output = "";
  await new Promise<void>((resolve, reject) => {
    const read = (data: Buffer) => {
      output += data.toString();
      if (/Ready on http/.test(output)) resolve();
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.once("exit", (code) => reject(new Error(`wrangler dev ended with ${code}:\n${output}`)));
  });
  return child;
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}

const client = () => new OpenAI({ baseURL: `${url}/v1`, apiKey: adminKey, maxRetries: 0 });

interface Row {
  aborted: boolean;
  settled: boolean;
  userId: string;
  engineId: string;
  usage: { completionTokens?: number };
}

async function rowsOf(user: string): Promise<Row[]> {
  const response = await fetch(`${url}/v1/usage?user=${user}`, { headers: { authorization: `Bearer ${adminKey}` } });
  const { rows } = (await response.json()) as { rows: Row[] };
  return rows;
}

describe("the Worker under wrangler dev", () => {
  it("streams to the official client from an engine at its address, and keeps the row", async () => {
    const stream = await client().chat.completions.create({
      model: "fake",
      messages: [{ role: "user", content: "Say it." }],
      stream: true,
      stream_options: { include_usage: true },
      user: "streaming",
    });
    let text = "";
    let tokens = 0;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? "";
      tokens = chunk.usage?.completion_tokens ?? tokens;
    }
    expect(text).toBe("Hello from the fake engine.");
    expect(await rowsOf("streaming")).toMatchObject([
      { settled: true, aborted: false, engineId: "fake", usage: { completionTokens: tokens } },
    ]);
  });

  it("is at most 300 KB, compressed, as it would be uploaded", async () => {
    const folder = join(state, "script");
    const arguments_ = ["deploy", "--dry-run", "--minify", "--env=", "--outdir", folder];
    await promisify(execFile)(process.execPath, [wrangler, ...arguments_], { cwd: root, env: environment });
    const script = readFileSync(join(folder, "worker.js"));
    expect(gzipSync(script).length).toBeLessThan(300 * 1024);
    expect(script.length).toBeGreaterThan(100_000);
  });

  it("serves the admin page with its styles and scripts", async () => {
    const signIn = await fetch(`${url}/admin`);
    const html = await signIn.text();
    expect([signIn.status, html.includes('name="key"')]).toEqual([401, true]);
    for (const name of ["admin.css", "admin.js", "htmx.min.js", "uPlot.iife.min.js", "uPlot.min.css"]) {
      const file = await fetch(`${url}/admin/static/${name}?v=1`);
      expect([name, file.status]).toEqual([name, 200]);
      expect(file.headers.get("content-type")).toMatch(/^text\/(?:css|javascript)/);
      await file.arrayBuffer();
    }
  });

  it("serves the page of the routes with its files", async () => {
    const description = await fetch(`${url}/openapi.json`);
    expect(description.headers.get("access-control-allow-origin")).toBe("*");
    expect(await description.json()).toMatchObject({ openapi: "3.1.0", paths: { "/v1/link": {} } });
    const page = await fetch(`${url}/docs`);
    expect([page.status, page.headers.get("content-type")]).toEqual([200, "text/html; charset=UTF-8"]);
    expect(page.headers.get("content-security-policy")).toContain("script-src 'self'");
    await page.text();
    for (const name of docsFiles) {
      const file = await fetch(`${url}/docs/static/${name}`);
      expect([name, file.status]).toEqual([name, 200]);
      await file.arrayBuffer();
    }
  });
});
